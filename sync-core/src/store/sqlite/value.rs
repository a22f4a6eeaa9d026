//! Keys and bodies as `SQLite`'s values.

use bytes::Bytes;
use rusqlite::{
    Row, ToSql,
    types::{FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use crate::{model::Key, store::Seq};

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
