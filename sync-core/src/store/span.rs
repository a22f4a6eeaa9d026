//! What a filter says of one field, for stores that look it up in an index.

use std::{cmp::Ordering, ops::Bound};

use crate::model::{
    Kind, Place, Value,
    filter::{Expr, Range, Relation},
};

/// Values of one kind, from one to another, as [`Select::spans`](super::Select::spans) tells them.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The kind.
    pub kind: Kind,
    /// Where they begin. All null, arrays and objects are one: their spans have no bounds.
    pub low: Bound<Value>,
    /// Where they end.
    pub high: Bound<Value>,
}

impl Span {
    /// All values of a kind.
    pub(super) fn all(kind: Kind) -> Self {
        Self { kind, low: Bound::Unbounded, high: Bound::Unbounded }
    }

    /// One value alone.
    pub(super) fn point(value: &Value) -> Self {
        match value.kind() {
            Kind::Other => Self::all(Kind::Other),
            kind => Self { kind, low: Bound::Included(value.clone()), high: Bound::Included(value.clone()) },
        }
    }

    /// Whether a value is among them.
    pub fn contains(&self, value: &Value) -> bool {
        self.intersection(&Self::point(value)).is_some()
    }

    fn is_empty(&self) -> bool {
        match (&self.low, &self.high) {
            (Bound::Included(low), Bound::Included(high)) => low.rank(high).is_gt(),
            (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
                low.rank(high).is_ge()
            }
            _ => false,
        }
    }

    fn intersection(&self, other: &Self) -> Option<Self> {
        if self.kind != other.kind {
            return None;
        }
        let low = if compare_low(&self.low, &other.low).is_ge() { &self.low } else { &other.low };
        let high = if compare_high(&self.high, &other.high).is_le() { &self.high } else { &other.high };
        let both = Self { kind: self.kind, low: low.clone(), high: high.clone() };
        (!both.is_empty()).then_some(both)
    }
}

/// See [`Select::spans`](super::Select::spans).
pub(super) fn of(filter: &Expr, field: &str) -> Option<Vec<Span>> {
    match filter {
        Expr::Eq(name, value) => (*name == field).then(|| vec![Span::point(value)]),
        Expr::Compare(name, relation, value) => (*name == field).then(|| compared(*relation, value)),
        Expr::Prefix(name, prefix) => (*name == field).then(|| {
            let low = Bound::Included(Value::Text(prefix.clone()));
            vec![Span { kind: Kind::Text, low, high: after_prefix(prefix) }]
        }),
        Expr::Within(range) => within(range, field),
        Expr::And(parts) => {
            parts.iter().filter_map(|part| of(part, field)).reduce(|a, b| intersection(&a, &b))
        }
        Expr::Or(parts) => {
            let parts = parts.iter().map(|part| of(part, field));
            parts.collect::<Option<Vec<_>>>().map(|parts| union(parts.concat()))
        }
        Expr::Not(_) => None,
    }
}

/// Values that come, in an order, not before `low` and not after `high`.
pub(super) fn between(low: Option<&Value>, high: Option<&Value>) -> Vec<Span> {
    let [from, to] = [low, high].map(|value| value.map(Value::kind));
    let kinds = KINDS
        .into_iter()
        .filter(|kind| from.is_none_or(|from| *kind >= from) && to.is_none_or(|to| *kind <= to));
    let bound = |value: Option<&Value>, kind| match value {
        Some(value) if value.kind() == kind && kind != Kind::Other => Bound::Included(value.clone()),
        _ => Bound::Unbounded,
    };
    let spans = kinds.map(|kind| Span { kind, low: bound(low, kind), high: bound(high, kind) });
    spans.filter(|span| !span.is_empty()).collect()
}

/// Values that come, in an order, not before this one, or not after it; where it can be told from others, it is a span of its own.
#[cfg(feature = "sqlite")]
pub(super) fn behind(value: &Value, descending: bool) -> Vec<Span> {
    let mut spans = if descending { between(None, Some(value)) } else { between(Some(value), None) };
    if matches!(value.kind(), Kind::Number | Kind::Text) {
        let open = Bound::Excluded(value.clone());
        match if descending { spans.last_mut() } else { spans.first_mut() } {
            Some(span) if descending => span.high = open,
            Some(span) => span.low = open,
            None => {}
        }
        spans.push(Span::point(value));
    }
    spans.sort_by(|a, b| a.kind.cmp(&b.kind).then_with(|| compare_low(&a.low, &b.low)));
    spans
}

pub(super) fn intersection(a: &[Span], b: &[Span]) -> Vec<Span> {
    a.iter().flat_map(|a| b.iter().filter_map(|b| a.intersection(b))).collect()
}

/// Any values.
#[cfg(feature = "sqlite")]
pub(super) fn everything() -> Vec<Span> {
    KINDS.map(Span::all).into()
}

fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| !span.is_empty());
    spans.sort_by(|a, b| a.kind.cmp(&b.kind).then_with(|| compare_low(&a.low, &b.low)));
    let mut union: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match union.last_mut() {
            Some(last) if last.kind == span.kind && touches(&last.high, &span.low) => {
                if compare_high(&last.high, &span.high).is_lt() {
                    last.high = span.high;
                }
            }
            _ => union.push(span),
        }
    }
    union
}

fn compared(relation: Relation, value: &Value) -> Vec<Span> {
    let kind = value.kind();
    if kind == Kind::Other {
        return Vec::new();
    }
    let (low, high) = match relation {
        Relation::Less => (Bound::Unbounded, Bound::Excluded(value.clone())),
        Relation::LessOrEqual => (Bound::Unbounded, Bound::Included(value.clone())),
        Relation::Greater => (Bound::Excluded(value.clone()), Bound::Unbounded),
        Relation::GreaterOrEqual => (Bound::Included(value.clone()), Bound::Unbounded),
    };
    vec![Span { kind, low, high }]
}

fn within(range: &Range, field: &str) -> Option<Vec<Span>> {
    let (first, descending) = match range.order.first() {
        Some(by) => (by.field, by.descending),
        None => (range.id, false),
    };
    if first != field {
        return None;
    }
    let value = |place: &Place| place.values.first().cloned().unwrap_or_else(|| Value::from(&place.key));
    // Rows with the value of the place itself may be before and behind it.
    let [after, until] = [&range.after, &range.until].map(|place| place.as_ref().map(value));
    Some(if descending {
        between(until.as_ref(), after.as_ref())
    } else {
        between(after.as_ref(), until.as_ref())
    })
}

/// The first text that comes after all with this prefix.
fn after_prefix(prefix: &str) -> Bound<Value> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            chars.push(next);
            return Bound::Excluded(Value::Text(chars.into_iter().collect::<String>().into()));
        }
    }
    Bound::Unbounded
}

/// Which of two beginnings comes first.
fn compare_low(a: &Bound<Value>, b: &Bound<Value>) -> Ordering {
    let is_open = |bound: &Bound<Value>| matches!(bound, Bound::Excluded(_));
    match (value(a), value(b)) {
        (Some(x), Some(y)) => x.rank(y).then_with(|| is_open(a).cmp(&is_open(b))),
        (x, y) => x.is_some().cmp(&y.is_some()),
    }
}

/// Which of two ends comes first.
fn compare_high(a: &Bound<Value>, b: &Bound<Value>) -> Ordering {
    let is_closed = |bound: &Bound<Value>| matches!(bound, Bound::Included(_));
    match (value(a), value(b)) {
        (Some(x), Some(y)) => x.rank(y).then_with(|| is_closed(a).cmp(&is_closed(b))),
        (x, y) => x.is_none().cmp(&y.is_none()),
    }
}

/// Whether there is nothing between an end and the beginning of what comes next.
fn touches(high: &Bound<Value>, low: &Bound<Value>) -> bool {
    match (high, low) {
        (Bound::Excluded(high), Bound::Excluded(low)) => high.rank(low).is_gt(),
        _ => match (value(high), value(low)) {
            (Some(high), Some(low)) => high.rank(low).is_ge(),
            _ => true,
        },
    }
}

fn value(bound: &Bound<Value>) -> Option<&Value> {
    match bound {
        Bound::Included(value) | Bound::Excluded(value) => Some(value),
        Bound::Unbounded => None,
    }
}

const KINDS: [Kind; 4] = [Kind::Other, Kind::Bool, Kind::Number, Kind::Text];
