//! What the stores of this crate decide in the same way.

use std::collections::BTreeMap;

use super::{Seq, StoreError, Table, Transaction};
use crate::model::{Key, KeyKind};

/// Refuses models that cannot be stored beside each other.
pub(super) fn check_tables(tables: &[Table]) -> Result<(), StoreError> {
    let mut names = BTreeMap::new();
    for table in tables {
        let name = table.name.to_ascii_lowercase();
        if name.is_empty() || name.contains('\0') {
            return Err(StoreError::new(format!("{:?} cannot be the name of a model", table.name)));
        }
        if name.starts_with("sync_") || name.starts_with("sqlite_") {
            return Err(StoreError::new(format!(
                "the model `{}` needs another name: those with `sync_` and `sqlite_` in front are the store's own",
                table.name
            )));
        }
        if let Some(other) = names.insert(name, table.name) {
            return Err(StoreError::new(format!(
                "the models `{other}` and `{}` need names that differ in more than upper and lower case",
                table.name
            )));
        }
    }
    Ok(())
}

/// Refuses a batch that names what is not there, before any of it is written. `kind` says which ids an open model has.
pub(super) fn check_batch(
    batch: &[Transaction],
    kind: impl Fn(&str) -> Option<KeyKind>,
) -> Result<(), StoreError> {
    for transaction in batch {
        for super::Precondition::RowAt { model, .. } in &transaction.preconditions {
            kind(model).ok_or_else(|| not_opened(model))?;
        }
        for change in &transaction.changes {
            let kind = kind(change.model).ok_or_else(|| not_opened(change.model))?;
            check_key(change.model, kind, &change.key)?;
        }
    }
    Ok(())
}

/// Refuses a key that no row of the model can have.
pub(super) fn check_key(model: &str, kind: KeyKind, key: &Key) -> Result<(), StoreError> {
    if has_kind(key, kind) {
        return Ok(());
    }
    Err(StoreError::new(match kind {
        KeyKind::Int => format!("{key:?} is not an id of `{model}`: its ids are integers"),
        KeyKind::Text => format!("{key} is not an id of `{model}`: its ids are text"),
    }))
}

pub(super) fn has_kind(key: &Key, kind: KeyKind) -> bool {
    match key {
        Key::Int(_) => kind == KeyKind::Int,
        Key::Text(_) => kind == KeyKind::Text,
    }
}

pub(super) fn not_opened(model: &str) -> StoreError {
    StoreError::new(format!("the store was opened without a model `{model}`"))
}

pub(super) fn not_open() -> StoreError {
    StoreError::new("the store is not open")
}

/// The first of `count` new ids from `next`, and the next one after them.
pub(super) fn ids_from(model: &str, next: i64, count: u32) -> Result<(i64, i64), StoreError> {
    match next.checked_add(i64::from(count.max(1))) {
        Some(after) => Ok((next, after)),
        None => Err(StoreError::new(format!("`{model}` has no integer ids left above {next}"))),
    }
}

/// Why ids of text are not allocated.
pub(super) fn text_ids(model: &str) -> StoreError {
    StoreError::new(format!("the ids of `{model}` are text: a store allocates integers only"))
}

/// Lets through what fits into a number of bytes, but always the first.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    used: bool,
}

impl Budget {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { left: max_bytes, used: false }
    }

    /// Whether these bytes still fit; they are then taken off.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        if self.used && bytes > self.left {
            return false;
        }
        self.used = true;
        self.left = self.left.saturating_sub(bytes);
        true
    }
}

/// How much of the log is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// The number of transactions that a client may be behind.
    pub(super) transactions: u64,
}

impl Retention {
    /// The new horizon after a commit, where it is time to move it: not at every commit, so that trimming costs
    /// little, and never far at once, so that it takes no commit long.
    pub(super) fn horizon(self, head: Seq, horizon: Seq) -> Option<Seq> {
        let surplus = head.saturating_sub(horizon).saturating_sub(self.transactions);
        (surplus >= TRIM_STEP).then(|| horizon + surplus.min(TRIM_MOST))
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { transactions: 100_000 }
    }
}

const TRIM_STEP: u64 = 64;
const TRIM_MOST: u64 = 1024;
