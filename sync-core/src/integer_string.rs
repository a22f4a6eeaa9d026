//! Whole numbers that travel as strings, for `#[serde(with = "sync_core::integer_string")]`.
//!
//! A JavaScript client reads every number as a double and would change whole numbers beyond 2^53 without a word, so
//! rows that have one are refused. A field declared like this holds all of its type, and a client sees and sends it as
//! a string of digits, such as `"18446744073709551615"`. It works on `u64`, `i64`, `u128` and `i128`, and on an `Option`
//! of one (which then needs `#[serde(default)]` if it may be left out).
//!
//! The stored JSON has the string too. Rows that were stored before the field was declared like this have a number,
//! which is read as well and stored as a string at the next start.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use sync_core::SyncedModel;
//!
//! #[derive(Clone, Serialize, Deserialize, SyncedModel)]
//! struct Account {
//!     id: u64,
//!     #[serde(with = "sync_core::integer_string")]
//!     balance: i128,
//!     #[serde(default, with = "sync_core::integer_string")]
//!     limit: Option<u64>,
//! }
//!
//! let account = Account { id: 1, balance: -(1 << 70), limit: Some(u64::MAX) };
//! let json = serde_json::to_string(&account)?;
//! assert_eq!(json, r#"{"id":1,"balance":"-1180591620717411303424","limit":"18446744073709551615"}"#);
//! let again: Account = serde_json::from_str(&json)?;
//! assert_eq!((again.balance, again.limit), (account.balance, account.limit));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::{
    fmt::{self, Display},
    marker::PhantomData,
    str::FromStr,
};

use serde::{
    Deserializer, Serializer,
    de::{Error, Unexpected, Visitor},
};

use crate::types::{Type, Types};

/// Writes a whole number as a string.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: IntegerString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.write(serializer)
}

/// Reads a whole number from a string, or from a number.
///
/// # Errors
/// When it is neither, or the type does not hold it.
pub fn deserialize<'de, T: IntegerString, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// What such a field is in JSON.
#[doc(hidden)]
pub fn describe<T: IntegerString>(types: &mut Types) -> Type {
    T::describe(types)
}

/// The types of fields that may travel as a string: `u64`, `i64`, `u128`, `i128`, and an `Option` of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel as a string of digits",
    note = "`sync_core::integer_string` is for `u64`, `i64`, `u128` and `i128`, and an `Option` of one"
)]
pub trait IntegerString: sealed::Field {}

impl<T: sealed::Field> IntegerString for T {}

mod sealed {
    use super::{Deserializer, Digits, Display, FromStr, Serializer, Type, Types};

    /// What is written and read, so that nobody outside can add to it.
    pub trait Field: Sized {
        fn describe(types: &mut Types) -> Type;
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    }

    pub trait Integer: Display + FromStr + TryFrom<i128> + TryFrom<u128> {}

    macro_rules! integers {
        ($($integer:ty)*) => {$(
            impl Integer for $integer {}

            impl Field for $integer {
                fn describe(_: &mut Types) -> Type {
                    Type::String
                }

                fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }

                fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer.deserialize_any(Digits::one())
                }
            }
        )*};
    }

    integers!(u64 i64 u128 i128);

    impl<T: Integer> Field for Option<T> {
        fn describe(_: &mut Types) -> Type {
            Type::String.nullable()
        }

        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Some(integer) => serializer.collect_str(integer),
                None => serializer.serialize_none(),
            }
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_option(Digits::optional())
        }
    }
}

/// Reads digits.
struct Digits<T>(PhantomData<T>);

impl<T: sealed::Integer> Digits<T> {
    fn one() -> Self {
        Self(PhantomData)
    }

    fn optional() -> Optional<T> {
        Optional(PhantomData)
    }
}

impl<T: sealed::Integer> Visitor<'_> for Digits<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number as a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        // FromStr also takes a plus sign, which no client means and no digit string has.
        let number = if text.starts_with('+') { None } else { text.parse().ok() };
        number.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_u128(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_i128(number.into())
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::custom(format_args!("{number} does not fit")))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::custom(format_args!("{number} does not fit")))
    }
}

/// Reads digits, or `null`.
struct Optional<T>(PhantomData<T>);

impl<'de, T: sealed::Integer> Visitor<'de> for Optional<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number as a string, or null")
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(Digits::one()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        #[serde(with = "super")]
        u: u64,
        #[serde(with = "super")]
        i: i64,
        #[serde(with = "super")]
        large: i128,
        #[serde(default, with = "super")]
        maybe: Option<u128>,
    }

    #[test]
    fn the_ends_of_every_type_come_back() {
        for row in [
            Row { u: u64::MAX, i: i64::MIN, large: i128::MIN, maybe: Some(u128::MAX) },
            Row { u: 0, i: i64::MAX, large: i128::MAX, maybe: None },
        ] {
            let json = serde_json::to_string(&row).unwrap();
            assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row, "{json}");
        }
    }

    #[test]
    fn numbers_of_before_are_read() {
        let row: Row =
            serde_json::from_str(r#"{"u":18446744073709551615,"i":-1,"large":7,"maybe":8}"#).unwrap();
        assert_eq!(row, Row { u: u64::MAX, i: -1, large: 7, maybe: Some(8) });
    }

    #[test]
    fn anything_else_is_refused() {
        for u in [
            r#""+1""#,
            r#""-1""#,
            r#""""#,
            r#""1.0""#,
            r#"" 1""#,
            r#""18446744073709551616""#,
            "-1",
            "1.0",
            "null",
            "true",
        ] {
            let json = format!(r#"{{"u":{u},"i":"0","large":"0"}}"#);
            assert!(serde_json::from_str::<Row>(&json).is_err(), "{u}");
        }
    }
}
