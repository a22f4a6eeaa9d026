//! Filters and orders as the protocol's text says, in the plainest way and with nothing of the crate: what all else is compared with.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// Where a row stands: its values in the order's fields, and its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Place(pub Vec<Value>, pub Value);

impl Place {
    /// The place of a row.
    pub fn of(row: &Value, order: &[(String, bool)]) -> Self {
        Self(order.iter().map(|(name, _)| row[name].clone()).collect(), row["id"].clone())
    }

    /// Which of two comes first.
    pub fn cmp_in(&self, other: &Self, order: &[(String, bool)]) -> Ordering {
        for (index, (_, descending)) in order.iter().enumerate() {
            let ordering = compare(&self.0[index], &other.0[index]);
            if ordering.is_ne() {
                return if *descending { ordering.reverse() } else { ordering };
            }
        }
        compare(&self.1, &other.1)
    }
}

/// The order of values of all kinds.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null | Value::Array(_) | Value::Object(_) => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
    };
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        },
        _ => Ordering::Equal,
    })
}

/// The fields of an `order`, and whether each goes down.
pub fn order(asked: &Map<String, Value>) -> Vec<(String, bool)> {
    let fields = asked.get("order").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    fields
        .map(|field| match field.strip_prefix('-') {
            Some(field) => (field.to_owned(), true),
            None => (field.to_owned(), false),
        })
        .collect()
}

/// Whether a `where` holds for a row.
pub fn holds(filter: &Value, row: &Value) -> bool {
    filter.as_object().unwrap().iter().all(|(name, condition)| match name.as_str() {
        "and" => condition.as_array().unwrap().iter().all(|part| holds(part, row)),
        "or" => condition.as_array().unwrap().iter().any(|part| holds(part, row)),
        "not" => !holds(condition, row),
        name => {
            let value = &row[name];
            let Some(tests) = condition.as_object() else { return value == condition };
            tests.iter().all(|(test, other)| match test.as_str() {
                "eq" => value == other,
                "ne" => value != other,
                "in" => other.as_array().unwrap().contains(value),
                "prefix" => value.as_str().is_some_and(|text| text.starts_with(other.as_str().unwrap())),
                test => {
                    let is_same_kind = (value.is_number() && other.is_number())
                        || (value.is_string() && other.is_string())
                        || (value.is_boolean() && other.is_boolean());
                    is_same_kind
                        && match test {
                            "lt" => compare(value, other).is_lt(),
                            "lte" => compare(value, other).is_le(),
                            "gt" => compare(value, other).is_gt(),
                            "gte" => compare(value, other).is_ge(),
                            _ => panic!("no test `{test}`"),
                        }
                }
            })
        }
    })
}

/// Whether a row is one of those that are `asked` for, but for the limit.
pub fn is_asked(asked: &Map<String, Value>, row: &Value) -> bool {
    let order = order(asked);
    let place = |name: &str| {
        let mut values = asked.get(name)?.as_array().unwrap().clone();
        let id = values.pop().unwrap();
        Some(Place(values, id))
    };
    let own = Place::of(row, &order);
    asked.get("where").is_none_or(|filter| holds(filter, row))
        && place("after").is_none_or(|after| own.cmp_in(&after, &order).is_gt())
        && place("until").is_none_or(|until| own.cmp_in(&until, &order).is_le())
}

/// What a client that asks for this is to show of all rows that it may see, in order.
pub fn answer(asked: &Map<String, Value>, rows: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let order = order(asked);
    let mut rows: Vec<_> = rows.into_iter().filter(|row| is_asked(asked, row)).collect();
    rows.sort_by(|a, b| Place::of(a, &order).cmp_in(&Place::of(b, &order), &order));
    if let Some(limit) = asked.get("limit").and_then(Value::as_u64) {
        rows.truncate(usize::try_from(limit).unwrap());
    }
    rows
}
