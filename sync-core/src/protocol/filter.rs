//! `where`: the filter of a `subscribe`, or of a `read` of many rows, as a client writes it.
//!
//! ```json
//! {"list": "home", "priority": {"gte": 3}, "or": [{"done": false}, {"due": {"lt": "2027"}}]}
//! ```
//! What is named must be indexed, and a client may not name what it does not see: it would learn of it by what is found.

use serde_json::value::RawValue;

use super::request::{bad, plain};
use crate::{
    Result,
    model::{
        Access, FieldSchema, Schema,
        filter::{Expr, Relation},
        value::Value,
    },
    object::{Object, Text, shown},
    safe_integer,
};

/// The most values that a filter compares with: each is looked at for every change of the model.
const MAX_VALUES: usize = 256;

const OPERATORS: &str = "eq, ne, lt, lte, gt, gte, in, prefix";

/// Reads a filter for a model.
pub(crate) fn read(text: &str, model: &str, schema: &Schema) -> Result<Expr> {
    safe_integer::check(text.as_bytes())?;
    Reader { model, schema, values: 0 }.all(text)
}

struct Reader<'a> {
    model: &'a str,
    schema: &'a Schema,
    values: usize,
}

impl Reader<'_> {
    /// An object: everything in it must hold.
    fn all(&mut self, text: &str) -> Result<Expr> {
        let object = serde_json::from_str::<Object<'_>>(text)
            .map_err(|_| bad("`where` must be made of objects, with no name given twice".into()))?;
        let mut parts = Vec::with_capacity(object.fields.len());
        for (name, condition) in &object.fields {
            parts.push(match &**name {
                "and" => Expr::and(self.list(name, condition)?),
                "or" => Expr::or(self.list(name, condition)?),
                "not" => self.all(condition.get())?.negated(),
                name => self.field(name, condition)?,
            });
        }
        Ok(Expr::and(parts))
    }

    fn list(&mut self, name: &str, condition: &RawValue) -> Result<Vec<Expr>> {
        items(condition)
            .ok_or_else(|| bad(format!("`where`: `{name}` takes a list of objects")))?
            .into_iter()
            .map(|item| self.all(item.get()))
            .collect()
    }

    fn field(&mut self, name: &str, condition: &RawValue) -> Result<Expr> {
        let name = usable("where", name, self.model, self.schema)?;
        match condition.get().as_bytes().first() {
            Some(b'{') => {}
            Some(b'[') => {
                return Err(bad(format!("`where`: `{name}` takes a value, or an object of {OPERATORS}")));
            }
            _ => return Ok(Expr::Eq(name, self.value(condition)?)),
        }
        let operators = serde_json::from_str::<Object<'_>>(condition.get())
            .map_err(|_| bad(format!("`where`: `{name}` has an operator twice")))?;
        let mut parts = Vec::with_capacity(operators.fields.len());
        for (operator, operand) in &operators.fields {
            parts.push(self.operator(name, operator, operand)?);
        }
        Ok(Expr::and(parts))
    }

    fn operator(&mut self, name: &'static str, operator: &str, operand: &RawValue) -> Result<Expr> {
        let relation = match operator {
            "eq" => return Ok(Expr::Eq(name, self.value(operand)?)),
            "ne" => return Ok(Expr::Eq(name, self.value(operand)?).negated()),
            "in" => {
                let items = items(operand)
                    .ok_or_else(|| bad(format!("`where`: `in` of `{name}` takes a list of values")))?;
                let values = items.into_iter().map(|item| Ok(Expr::Eq(name, self.value(item)?)));
                return Ok(Expr::or(values.collect::<Result<_>>()?));
            }
            "prefix" => {
                self.count()?;
                let Ok(Text(prefix)) = serde_json::from_str(operand.get()) else {
                    return Err(bad(format!("`where`: `prefix` of `{name}` takes a string")));
                };
                return Ok(Expr::Prefix(name, (&*prefix).into()));
            }
            "lt" => Relation::Less,
            "lte" => Relation::LessOrEqual,
            "gt" => Relation::Greater,
            "gte" => Relation::GreaterOrEqual,
            other => {
                let message =
                    format!("`where`: `{name}`: no operator `{}`; there are {OPERATORS}", shown(other));
                return Err(bad(message));
            }
        };
        Ok(Expr::Compare(name, relation, self.value(operand)?))
    }

    fn value(&mut self, raw: &RawValue) -> Result<Value> {
        self.count()?;
        let value = serde_json::from_str::<serde_json::Value>(raw.get());
        value.map(Into::into).map_err(|error| bad(format!("`where`: {}", plain(&error))))
    }

    fn count(&mut self) -> Result<()> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(bad(format!("`where` compares with more than {MAX_VALUES} values")));
        }
        Ok(())
    }
}

/// The name of a field by which a client may ask for rows: one that is indexed and that it sees. `of` is where it named it.
pub(super) fn usable(of: &str, name: &str, model: &str, schema: &Schema) -> Result<&'static str> {
    let Some(field) = schema.fields.iter().find(|field| field.name == name && may_see(field)) else {
        return Err(bad(format!("`{of}`: there is no field `{}` in `{model}`", shown(name))));
    };
    if !field.indexed {
        let usable = schema.fields.iter().filter(|field| may_see(field) && field.indexed);
        let usable = usable.map(|field| field.name).collect::<Vec<_>>().join(", ");
        return Err(bad(format!("`{of}`: `{name}` of `{model}` cannot be asked for: it can be {usable}")));
    }
    Ok(field.name)
}

fn may_see(field: &FieldSchema) -> bool {
    field.access != Access::ServerOnly
}

fn items(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}
