//! `order`, `after` and `until`: how the rows that a client asks for go, and which part of them it wants.
//!
//! ```json
//! {"order": ["-priority", "title"], "after": [3, "milk", 17], "limit": 20}
//! ```

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Rows, filter,
    request::{bad, key, plain},
};
use crate::{
    Result,
    model::{
        OrderBy, Place,
        filter::{Expr, Range},
        order::OrderList,
    },
    registry::Model,
    safe_integer,
};

/// The most fields of an order.
const MAX_FIELDS: usize = 3;

/// The order that was asked for.
pub(crate) fn order(text: &str, model: &Model) -> Result<OrderList> {
    let wrong = || {
        bad(format!(
            "`order` must be a list of 1 to {MAX_FIELDS} names of fields, with `-` before one that goes down"
        ))
    };
    let fields: Vec<String> = serde_json::from_str(text).map_err(|_| wrong())?;
    if fields.is_empty() || fields.len() > MAX_FIELDS {
        return Err(wrong());
    }
    let mut order = OrderList::new();
    for field in &fields {
        let (name, descending) = match field.strip_prefix('-') {
            Some(name) => (name, true),
            None => (field.as_str(), false),
        };
        let field = filter::usable("order", name, model.name(), model.schema())?;
        if order.iter().any(|by| by.field == field) {
            return Err(bad(format!("`order` has `{field}` twice")));
        }
        order.push(OrderBy { field, descending });
    }
    Ok(order)
}

/// The places between which rows were asked for, in an order.
pub(crate) fn range(rows: &Rows, order: &OrderList, model: &Model) -> Result<Option<Range>> {
    let read = |name: &str, text: Option<&str>| text.map(|text| place(name, text, order, model)).transpose();
    let (after, until) = (read("after", rows.after.as_deref())?, read("until", rows.until.as_deref())?);
    if after.is_none() && until.is_none() {
        return Ok(None);
    }
    Ok(Some(Range { order: order.clone(), id: model.schema().id, after, until }))
}

fn place(name: &str, text: &str, order: &OrderList, model: &Model) -> Result<Place> {
    safe_integer::check(text.as_bytes())?;
    let wrong = || {
        let fields = order.iter().map(|by| by.field).collect::<Vec<_>>().join(", ");
        let fields =
            if fields.is_empty() { fields } else { format!("a value for each of {fields}, and then ") };
        bad(format!("`{name}` must be a list: {fields}an id of `{}`", model.name()))
    };
    let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| wrong())?;
    let Some((id, values)) = parts.split_last().filter(|(_, values)| values.len() == order.len()) else {
        return Err(wrong());
    };
    let value = |raw: &&RawValue| {
        let value = serde_json::from_str::<serde_json::Value>(raw.get());
        value.map(Into::into).map_err(|error| bad(format!("`{name}`: {}", plain(&error))))
    };
    let values = values.iter().map(value).collect::<Result<_>>()?;
    let key = model.parse_key(&key(id).map_err(|_| wrong())?).ok_or_else(wrong)?;
    Ok(Place { values, key })
}

/// The condition that a row stands in a part of an order.
pub(crate) fn within(range: Range) -> Expr {
    Expr::Within(Arc::new(range))
}
