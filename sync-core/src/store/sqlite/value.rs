//! Keys and bodies as `SQLite`'s values.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{
    Row, ToSql,
    types::{FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use crate::{
    model::{Key, Value},
    store::Seq,
};

/// A key, to bind.
pub(super) struct SqlKey<'a>(pub(super) &'a Key);

impl ToSql for SqlKey<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Key::Int(id) => ValueRef::Integer(*id),
            Key::Text(id) => ValueRef::Text(id.as_bytes()),
        }))
    }
}

/// A value of an indexed column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SqlValue {
    Null,
    Int(i64),
    Real(f64),
    Text(Arc<[u8]>),
    /// What comes after all text. No column has it.
    End,
}

impl SqlValue {
    /// What the column has for this value: in the same order, but whole numbers above `i64::MAX` are rounded and may be the same.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Json(_) => Self::Null,
            Value::Bool(value) => Self::Int((*value).into()),
            Value::Int(value) => Self::Int(*value),
            #[expect(clippy::cast_precision_loss, reason = "as SQLite does")]
            Value::Uint(value) => Self::Real(*value as f64),
            Value::Float(bits) => Self::Real(f64::from_bits(*bits)),
            Value::Text(value) => Self::Text(value.as_bytes().into()),
        }
    }

    /// The number that it is, as a float: to be compared with 0, with 1 and with 2^63, below which all whole numbers of SQL are.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "0 and 1 are exact")]
            Self::Int(value) => Some((*value as f64).min(I64_END.next_down())),
            Self::Real(value) => Some(*value),
            Self::Null | Self::Text(_) | Self::End => None,
        }
    }

    pub(super) fn read(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Int(value),
            ValueRef::Real(value) => Self::Real(value),
            // It need not be UTF-8 where a person wrote half a surrogate pair.
            ValueRef::Text(value) | ValueRef::Blob(value) => Self::Text(value.into()),
        }
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value),
            Self::End => ValueRef::Blob(&[]),
        }))
    }
}

/// 2^63: whole numbers from here on are rounded in a column.
pub(super) const I64_END: f64 = 9_223_372_036_854_775_808.0;

/// A body, to bind as text.
pub(super) struct SqlBody<'a>(pub(super) &'a Bytes);

impl ToSql for SqlBody<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

pub(super) fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<Key> {
    read(row, column, |value| match value {
        ValueRef::Integer(id) => Ok(Key::Int(id)),
        _ => value.as_str().map(|id| Key::Text(id.into())),
    })
}

/// A body. It may have been stored as a blob by hand.
pub(super) fn body(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    read(row, column, |value| value.as_bytes().map(Bytes::copy_from_slice))
}

pub(super) fn optional_body(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Bytes>> {
    read(row, column, |value| Ok(value.as_bytes_or_null()?.map(Bytes::copy_from_slice)))
}

pub(super) fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    read(row, column, |value| {
        let seq = value.as_i64()?;
        Seq::try_from(seq).map_err(|_| FromSqlError::OutOfRange(seq))
    })
}

fn read<T>(
    row: &Row<'_>,
    column: usize,
    convert: impl FnOnce(ValueRef<'_>) -> FromSqlResult<T>,
) -> rusqlite::Result<T> {
    let value = row.get_ref(column)?;
    convert(value).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, value.data_type(), Box::new(error))
    })
}
