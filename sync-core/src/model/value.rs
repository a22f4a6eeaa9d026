//! The values that filters compare: a field's JSON, made canonical.

use std::{cmp::Ordering, sync::Arc};

use serde::Serialize;

use super::id::Key;

/// A field's value as a filter sees it.
///
/// It is made from the field's JSON, so that it means the same in Rust, in a store's SQL and in a client. Numbers are
/// equal by value: `1` and `1.0` are one.
///
/// The order of `Ord` is that of its variants: it means nothing but to sort by. What is less than what is said by filters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Value {
    /// `null`, or a field that is left out.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that an `i64` holds.
    Int(i64),
    /// A whole number above `i64::MAX`.
    Uint(u64),
    /// Any other number, as the bits of its `f64`; never a NaN, which JSON cannot write, and never a whole number that
    /// an `i64` or `u64` holds.
    Float(u64),
    /// A string.
    Text(Arc<str>),
    /// An array or an object, as compact JSON with sorted keys and numbers written alike.
    Json(Arc<str>),
}

/// The kinds of values, in the order in which they come where rows are ordered by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Null, arrays and objects, which are equal in an order, and neither less nor greater than anything.
    Other,
    /// Booleans.
    Bool,
    /// Numbers.
    Number,
    /// Text.
    Text,
}

impl Value {
    /// The value of anything that serde can write; what it cannot is `Null`.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        serde_json::to_value(value).map_or(Self::Null, Self::from)
    }
}

impl Value {
    /// How two values of one kind stand to each other; those of different kinds, nulls, arrays and objects do not.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => f64::from_bits(*a).partial_cmp(&f64::from_bits(*b)),
            (Self::Float(a), b) => Some(whole_and_float(b.whole()?, f64::from_bits(*a)).reverse()),
            (a, Self::Float(b)) => Some(whole_and_float(a.whole()?, f64::from_bits(*b))),
            (a, b) => Some(a.whole()?.cmp(&b.whole()?)),
        }
    }

    /// Which of two values of any kinds comes first where rows are ordered by them: null, arrays and objects, which are all equal,
    /// then `false` and `true`, then numbers by value, then text by code point.
    pub fn rank(&self, other: &Self) -> Ordering {
        self.kind().cmp(&other.kind()).then_with(|| self.compare(other).unwrap_or(Ordering::Equal))
    }

    /// Which values it can be compared with.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Null | Self::Json(_) => Kind::Other,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) | Self::Uint(_) | Self::Float(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some((*value).into()),
            Self::Uint(value) => Some((*value).into()),
            _ => None,
        }
    }
}

/// Exactly: a whole number above 2^53 is not rounded to meet a float.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and what is in between is exact")]
fn whole_and_float(whole: i128, float: f64) -> Ordering {
    let floor = float.floor();
    whole.cmp(&(floor as i128)).then(if float > floor { Ordering::Less } else { Ordering::Equal })
}

impl From<&Key> for Value {
    fn from(key: &Key) -> Self {
        match key {
            Key::Int(id) => Self::Int(*id),
            Key::Text(id) => Self::Text(id.clone()),
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::String(value) => Self::Text(value.into()),
            serde_json::Value::Number(number) => Self::number(&number),
            mut json => {
                equalize_numbers(&mut json);
                // Another crate of the program may have turned on serde_json's `preserve_order`.
                json.sort_all_objects();
                Self::Json(json.to_string().into())
            }
        }
    }
}

impl Value {
    fn number(number: &serde_json::Number) -> Self {
        if let Some(value) = number.as_i64() {
            Self::Int(value)
        } else if let Some(value) = number.as_u64() {
            Self::Uint(value)
        } else {
            Self::float(number.as_f64().unwrap_or(0.0))
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "guarded by the ranges")]
    pub(crate) fn float(value: f64) -> Self {
        // 2^63 and 2^64 are exact in f64, and no f64 lies between one of them and the whole number before it.
        const I64_END: f64 = 9_223_372_036_854_775_808.0;
        const U64_END: f64 = 18_446_744_073_709_551_616.0;
        if value.fract() == 0.0 && (-I64_END..I64_END).contains(&value) {
            Self::Int(value as i64)
        } else if (I64_END..U64_END).contains(&value) {
            Self::Uint(value as u64)
        } else {
            Self::Float(value.to_bits())
        }
    }
}

/// Writes numbers that are equal alike, also within arrays and objects: `[1.0]` is what a `Vec<f64>` is in a row, `[1]` what JavaScript sends.
fn equalize_numbers(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Number(number) => match Value::number(number) {
            Value::Int(value) => *number = value.into(),
            Value::Uint(value) => *number = value.into(),
            _ => {}
        },
        serde_json::Value::Array(items) => items.iter_mut().for_each(equalize_numbers),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(equalize_numbers),
        _ => {}
    }
}
