//! Filters: which rows of a model.

use std::{
    cmp::Ordering,
    fmt,
    marker::PhantomData,
    ops::{BitAnd, BitOr, Not},
    sync::Arc,
};

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use smallvec::SmallVec;

use super::{
    SyncedModel,
    id::Key,
    order::{OrderList, Place},
    value::Value,
};

/// Which rows of `M`: what a `read` handler returns to say what a client may see.
///
/// Made from field constants ([`Field::eq`](crate::Field::eq) and its neighbours) and combined with `&`, `|` and `!`.
///
/// A filter compares what a field is in JSON, by the same rules in a handler, in a store and in the JavaScript client:
///
/// * Values of different kinds (null, booleans, numbers, text, everything else) are never equal. Numbers are equal by
///   value, arrays and objects by what is in them, and null equals null.
/// * Only two booleans, two numbers or two texts are less or greater than each other: `false` is less than `true`,
///   and text goes by code point. So neither `lt` nor `gte` holds for a field that is null.
/// * `!` and `ne` are plain negations: `ne` holds for a field that is null.
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// # use sync_core::{Filter, SyncedModel};
/// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// # struct Todo { id: u64, #[sync(index)] list: String, #[sync(index)] done: bool }
/// let filter: Filter<Todo> = Todo::LIST.one_of(["home", "work"]) & !Todo::DONE.eq(true);
/// let everything: Filter<Todo> = Filter::all();
/// # let _ = (filter, everything);
/// ```
pub struct Filter<M> {
    expr: Expr,
    marker: PhantomData<fn() -> M>,
}

impl<M> Filter<M> {
    /// Every row.
    pub fn all() -> Self {
        Self::from_expr(Expr::And(Vec::new()))
    }

    /// No row.
    pub fn none() -> Self {
        Self::from_expr(Expr::Or(Vec::new()))
    }

    pub(crate) fn from_expr(expr: Expr) -> Self {
        Self { expr, marker: PhantomData }
    }

    pub(crate) fn into_expr(self) -> Expr {
        self.expr
    }
}

impl<M: SyncedModel> Filter<M> {
    /// Whether `row` is one of them.
    pub fn matches(&self, row: &M) -> bool {
        serde_json::to_vec(row).is_ok_and(|body| self.expr.matches(&body))
    }
}

impl<M> Clone for Filter<M> {
    fn clone(&self) -> Self {
        Self::from_expr(self.expr.clone())
    }
}

impl<M> PartialEq for Filter<M> {
    fn eq(&self, other: &Self) -> bool {
        self.expr == other.expr
    }
}

impl<M> fmt::Debug for Filter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl<M> BitAnd for Filter<M> {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self::from_expr(Expr::and(vec![self.expr, other.expr]))
    }
}

impl<M> BitOr for Filter<M> {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self::from_expr(Expr::or(vec![self.expr, other.expr]))
    }
}

impl<M> Not for Filter<M> {
    type Output = Self;

    fn not(self) -> Self {
        Self::from_expr(self.expr.negated())
    }
}

/// A filter without its model's type. An empty `And` is every row, an empty `Or` none.
///
/// The parts of an `And` or `Or` are sorted, and none is there twice: so filters that ask the same in another order are equal. What holds for
/// every row or for none does so at a glance: there is no empty `And` or `Or` in another expression.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Expr {
    Eq(&'static str, Value),
    Compare(&'static str, Relation, Value),
    Prefix(&'static str, Arc<str>),
    Within(Arc<Range>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
}

/// How a field stands to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Expr {
    pub(crate) fn and(parts: Vec<Expr>) -> Self {
        Self::flat(parts, Self::And, &Self::Or(Vec::new()), |expr| match expr {
            Self::And(inner) => Ok(inner),
            other => Err(other),
        })
    }

    pub(crate) fn or(parts: Vec<Expr>) -> Self {
        Self::flat(parts, Self::Or, &Self::And(Vec::new()), |expr| match expr {
            Self::Or(inner) => Ok(inner),
            other => Err(other),
        })
    }

    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            Self::And(parts) if parts.is_empty() => Self::Or(parts),
            Self::Or(parts) if parts.is_empty() => Self::And(parts),
            expr => Self::Not(Box::new(expr)),
        }
    }

    /// `a & (b & c)` and `(c & a) & b` are one expression, and one alone stands for itself. One part may decide for all.
    fn flat(
        parts: Vec<Expr>,
        join: fn(Vec<Expr>) -> Self,
        decides: &Self,
        open: fn(Expr) -> Result<Vec<Expr>, Expr>,
    ) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match open(part) {
                Ok(inner) => flat.extend(inner),
                Err(other) => flat.push(other),
            }
        }
        if flat.contains(decides) {
            return decides.clone();
        }
        flat.sort_unstable();
        flat.dedup();
        if flat.len() == 1 { flat.swap_remove(0) } else { join(flat) }
    }

    /// Whether every row matches, without looking at one.
    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Self::And(parts) if parts.is_empty())
    }

    /// Whether the row with this stored JSON matches. What is not a JSON object matches nothing.
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        if self.is_all() {
            return true;
        }
        let mut names = SmallVec::new();
        self.names(&mut names);
        FieldValues::read(body, names).is_some_and(|row| self.judge(&row))
    }

    /// The rows that can match at all, by the values of one field: a choice for each field by which the filter says so.
    pub(crate) fn routes(&self) -> Vec<Route> {
        match self {
            Self::Eq(field, value) => vec![Route { field, values: vec![value.clone()] }],
            Self::And(parts) => {
                let mut routes: Vec<_> = parts.iter().flat_map(Self::routes).collect();
                routes.sort_by_key(|route| (route.field, route.values.len()));
                routes.dedup_by_key(|route| route.field);
                routes
            }
            Self::Or(parts) => {
                let mut parts = parts.iter().map(Self::routes);
                let mut routes = parts.next().unwrap_or_default();
                for mut part in parts {
                    routes.retain_mut(|route| {
                        let of_field = part.iter_mut().find(|other| other.field == route.field);
                        let is_in_all = of_field.is_some();
                        route.values.extend(of_field.into_iter().flat_map(|other| other.values.drain(..)));
                        is_in_all
                    });
                }
                for route in &mut routes {
                    route.values.sort_unstable();
                    route.values.dedup();
                }
                routes
            }
            Self::Compare(..) | Self::Prefix(..) | Self::Within(_) | Self::Not(_) => Vec::new(),
        }
    }

    /// Whether a row of which these are the values matches. They must include all [`names`](Self::names).
    pub(crate) fn judge(&self, row: &FieldValues) -> bool {
        match self {
            Self::Eq(name, value) => row.get(name) == value,
            Self::Compare(name, relation, value) => {
                row.get(name).compare(value).is_some_and(|ordering| relation.holds(ordering))
            }
            Self::Prefix(name, prefix) => {
                matches!(row.get(name), Value::Text(text) if text.starts_with(&**prefix))
            }
            Self::Within(range) => range.contains(row),
            Self::And(parts) => parts.iter().all(|part| part.judge(row)),
            Self::Or(parts) => parts.iter().any(|part| part.judge(row)),
            Self::Not(inner) => !inner.judge(row),
        }
    }

    /// Adds the fields that the filter looks at.
    pub(crate) fn names(&self, into: &mut Names) {
        match self {
            Self::Eq(name, _) | Self::Compare(name, ..) | Self::Prefix(name, _) => {
                if !into.contains(name) {
                    into.push(name);
                }
            }
            Self::Within(range) => {
                for name in range.order.iter().map(|by| by.field).chain([range.id]) {
                    if !into.contains(&name) {
                        into.push(name);
                    }
                }
            }
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.names(into)),
            Self::Not(inner) => inner.names(into),
        }
    }
}

/// A part of the rows in an order: those after one place, up to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Range {
    pub(crate) order: OrderList,
    /// The name of the id.
    pub(crate) id: &'static str,
    /// Not the row of this place itself.
    pub(crate) after: Option<Place>,
    /// And the row of this place.
    pub(crate) until: Option<Place>,
}

impl Range {
    fn contains(&self, row: &FieldValues) -> bool {
        let key = match row.get(self.id) {
            Value::Int(id) => Key::Int(*id),
            Value::Text(id) => Key::Text(id.clone()),
            _ => return false,
        };
        let place = Place::of(row, key, &self.order);
        let is_after = |after: &Place| place.compare(after, &self.order).is_gt();
        let is_before = |until: &Place| place.compare(until, &self.order).is_le();
        self.after.as_ref().is_none_or(is_after) && self.until.as_ref().is_none_or(is_before)
    }
}

/// No row matches but those in which this field has one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) field: &'static str,
    /// Sorted.
    pub(crate) values: Vec<Value>,
}

/// Names of fields.
pub(crate) type Names = SmallVec<[&'static str; 4]>;

/// The values of a few fields of one row, read from its JSON without decoding the rest.
#[derive(Debug)]
pub(crate) struct FieldValues {
    values: SmallVec<[(&'static str, Value); 4]>,
}

impl FieldValues {
    /// None if the body is no JSON object.
    pub(crate) fn read(body: &[u8], names: Names) -> Option<Self> {
        struct Fields(Names);

        impl<'de> Visitor<'de> for Fields {
            type Value = FieldValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldValues, A::Error> {
                let mut values: SmallVec<_> = self.0.iter().map(|name| (*name, Value::Null)).collect();
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match values.iter_mut().find(|(name, _)| *name == key) {
                        Some((_, value)) => *value = map.next_value::<serde_json::Value>()?.into(),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(FieldValues { values })
            }
        }

        serde_json::Deserializer::from_slice(body).deserialize_map(Fields(names)).ok()
    }

    /// A field that was asked for; null if the row does not have it.
    pub(crate) fn get(&self, name: &str) -> &Value {
        self.values.iter().find(|(field, _)| *field == name).map_or(&Value::Null, |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eq(name: &'static str, value: impl Into<serde_json::Value>) -> Expr {
        Expr::Eq(name, value.into().into())
    }

    #[test]
    fn compares_by_value() {
        let body = br#"{"id":1,"n":2.0,"s":"a\u0062","z":null,"o":{"b":1,"a":2}}"#;
        assert!(eq("n", 2).matches(body));
        assert!(eq("s", "ab").matches(body));
        assert!(eq("z", serde_json::Value::Null).matches(body));
        assert!(eq("absent", serde_json::Value::Null).matches(body));
        assert!(eq("o", serde_json::json!({"a": 2, "b": 1})).matches(body));
        assert!(eq("n", 2.0).matches(br#"{"n":2}"#));
        assert!(eq("n", serde_json::json!([1.0, {"a": -0.0}])).matches(br#"{"n":[1,{"a":0}]}"#));
        assert!(!eq("n", serde_json::json!([1.5])).matches(br#"{"n":[1]}"#));
        assert!(!eq("n", "2").matches(body));
        assert!(!eq("n", 2.5).matches(body));
    }

    #[test]
    fn combines() {
        let body = br#"{"a":1,"b":2}"#;
        assert!(Expr::and(vec![eq("a", 1), eq("b", 2)]).matches(body));
        assert!(!Expr::and(vec![eq("a", 1), eq("b", 3)]).matches(body));
        assert!(Expr::or(vec![eq("a", 0), eq("b", 2)]).matches(body));
        assert!(Expr::Not(Box::new(eq("a", 0))).matches(body));
        assert!(Expr::and(vec![]).matches(body));
        assert!(!Expr::or(vec![]).matches(body));
    }

    #[test]
    fn filters_that_ask_the_same_are_one() {
        let (a, b, c) = (|| eq("a", 1), || eq("b", 2), || eq("c", 3));
        for join in [Expr::and, Expr::or] {
            let all = join(vec![a(), b(), c()]);
            assert_eq!(join(vec![join(vec![c(), a()]), b(), c()]), all);
            assert_eq!(join(vec![all.clone()]), all);
            assert_eq!(all.clone().negated().negated(), all);
        }
        assert_eq!(Expr::and(vec![eq("a", 1), eq("a", 1.0)]), a());
        assert_ne!(Expr::and(vec![a(), b()]), Expr::or(vec![a(), b()]));
    }

    /// What holds for every row, or none, is known without a look at one, and is one filter.
    #[test]
    fn what_does_not_depend_on_a_row_is_said_shortly() {
        let (all, none) = (Expr::And(Vec::new()), Expr::Or(Vec::new()));
        for filter in [
            none.clone().negated(),
            Expr::or(vec![eq("a", 1), all.clone()]),
            Expr::or(vec![all.clone(), Expr::and(vec![eq("a", 1), none.clone()])]),
            Expr::and(vec![all.clone(), Expr::or(vec![none.clone(), all.clone()])]),
        ] {
            assert_eq!(filter, all);
            assert_eq!(filter.negated(), none);
        }
        assert_eq!(Expr::and(vec![eq("a", 1), none.clone()]), none);
        assert_eq!(Expr::and(vec![eq("a", 1), all]), eq("a", 1));
        assert_eq!(Expr::or(vec![eq("a", 1), none]), eq("a", 1));
    }

    #[test]
    fn the_routes_of_a_filter() {
        let routes = |filter: Expr| {
            let routes = filter.routes().into_iter().map(|route| (route.field, route.values.len()));
            routes.collect::<Vec<_>>()
        };
        let either =
            |field, values: &[&str]| Expr::or(values.iter().map(|value| eq(field, *value)).collect());
        assert_eq!(routes(eq("a", "1")), [("a", 1)]);
        assert_eq!(routes(either("a", &["1", "2", "1"])), [("a", 2)]);
        let both = Expr::and(vec![either("a", &["1", "2"]), eq("b", "1")]);
        assert_eq!(routes(both.clone()), [("a", 2), ("b", 1)]);
        assert_eq!(routes(Expr::and(vec![both.clone(), eq("a", "3")])), [("a", 1), ("b", 1)], "the narrower");
        assert_eq!(routes(Expr::or(vec![both.clone(), eq("a", "3")])), [("a", 3)]);
        assert_eq!(routes(Expr::or(vec![both.clone(), eq("a", "1")])), [("a", 2)]);
        assert_eq!(routes(Expr::or(vec![both, eq("c", "1")])), []);
        let crossed = (0..4).map(|n| Expr::and(vec![eq("a", n), eq("b", 3 - n)])).collect();
        assert!(Expr::or(crossed).routes().iter().all(|route| route.values.is_sorted()));
        assert_eq!(routes(Expr::or(vec![eq("a", "1"), eq("b", "2")])), []);
        assert_eq!(routes(Expr::or(vec![eq("a", "1"), eq("a", "2").negated()])), []);
        assert_eq!(routes(eq("a", "1").negated()), []);
        assert_eq!(routes(Expr::And(Vec::new())), []);
        assert_eq!(routes(Expr::Or(Vec::new())), []);
    }

    #[test]
    fn big_integers_stay_exact() {
        assert!(eq("n", u64::MAX).matches(format!(r#"{{"n":{}}}"#, u64::MAX).as_bytes()));
        assert!(eq("n", 1e19).matches(br#"{"n":10000000000000000000}"#));
        assert!(eq("n", 1_u64 << 63).matches(br#"{"n":9223372036854775808.0}"#));
        assert!(!eq("n", u64::MAX).matches(br#"{"n":18446744073709551616.0}"#));
        assert!(!eq("n", u64::MAX).matches(format!(r#"{{"n":{}}}"#, u64::MAX - 1).as_bytes()));
        assert!(!eq("n", (1_i64 << 53) + 1).matches(format!(r#"{{"n":{}}}"#, 1_i64 << 53).as_bytes()));
    }
}
