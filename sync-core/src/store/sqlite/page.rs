//! Pages: which rows a [`Select`] asks for, looked up by index where that helps.
//!
//! Every look-up is of one column (an indexed field, or the id): the rows at one of its values, or in a range of them. That is a superset, and
//! [`Gather`] judges each row by its JSON, so that what is in a page never depends on how SQL compares. There are three ways, and all have statements that
//! are the same for every filter:
//!
//! * *Collect*: where an index leads to few rows for one part of the filter, all of them are read, and put in order here.
//! * *Walk*: else the rows are read in the order that is asked for, along the index of its first field, and those that do not match are passed over. Where
//!   the order has more fields, the rows that are equal in the first are put in order here, all of them.
//! * *Merge*: in the order of the ids, the rows at a few values of a field are read side by side.
//!
//! How many rows an index leads to is counted first, as far as [`Effort::most`]: nothing is estimated. Where a walk passes over many rows and the count has
//! turned out small, the page is collected after all.
//!
//! A column has numbers as `SQLite` reads them from JSON, in the same order as [`Value::rank`](crate::model::Value::rank) has them: it parses floats exactly, and
//! compares whole numbers with floats exactly; only different whole numbers above `i64::MAX` may be one in it.

use std::{
    cell::Cell,
    collections::{HashSet, VecDeque},
    ops::Bound,
    time::Instant,
};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, ToSql, params};

use super::{
    reader::stored_row,
    table::{SqlColumn, SqlTable, open_ends},
    value::{I64_END, SqlKey, SqlValue},
};
use crate::{
    model::{Key, KeyKind, Kind, Place, Value, filter::Expr},
    store::{
        Gather, Page, Select, Seq, Span, StoredRow,
        gather::keep_first,
        select::Look,
        span::{self},
    },
};

/// The rows that are asked for.
pub(super) fn page(
    connection: &Connection,
    table: &SqlTable,
    select: &Select,
    seq: Seq,
) -> rusqlite::Result<Page> {
    let started = Instant::now();
    let pager = Pager::new(connection, table, select);
    let page = pager.page(seq)?;
    let looked_at = pager.looked_at.get();
    if looked_at > WORTH_A_WORD + page.rows.len() {
        tracing::debug!(
            model = table.name, looked_at, found = page.rows.len(), took = ?started.elapsed(), filter = ?select.filter,
            order = ?select.order, "a page had to pass over many rows: no index leads to few"
        );
    }
    Ok(page)
}

/// When rows are collected instead of walked along.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// So few are collected at once. It takes about as long as a few hundred steps of a walk, which may be in vain. Ten times as many where the order has several fields.
    pub(super) few: usize,
    /// So many are collected when a walk has passed over as many; ten times as many where the order has several fields.
    pub(super) most: usize,
    /// More equal rows than this are not turned around where the greatest values come first, but read the other way.
    pub(super) equal: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { few: 500, most: 5_000, equal: 64 }
    }
}

/// Whoever takes rows says whether more are wanted, and so do those who give them.
pub(super) struct Pager<'a> {
    connection: &'a Connection,
    table: &'a SqlTable,
    select: &'a Select,
    effort: Effort,
    /// Whether a walk may be given up.
    may_collect: Cell<bool>,
    /// How many rows were read.
    looked_at: Cell<usize>,
    /// The statements that were run.
    #[cfg(test)]
    pub(super) ran: std::cell::RefCell<std::collections::BTreeSet<String>>,
}

/// Rows that a filter can have, by indexes.
struct Narrow<'a> {
    ranges: Vec<(&'a SqlColumn, SqlRange)>,
    /// At most: a row may be in several ranges.
    count: usize,
}

/// Values of a column.
#[derive(Clone, Debug, PartialEq)]
enum SqlRange {
    /// One value, and whether it is a boolean.
    At(SqlValue, bool),
    /// From one to another; whether they themselves are left out.
    Between { low: SqlValue, low_is_open: bool, high: SqlValue, high_is_open: bool },
}

impl<'a> Pager<'a> {
    pub(super) fn new(connection: &'a Connection, table: &'a SqlTable, select: &'a Select) -> Self {
        Self {
            connection,
            table,
            select,
            effort: Effort::default(),
            may_collect: Cell::new(false),
            looked_at: Cell::new(0),
            #[cfg(test)]
            ran: std::cell::RefCell::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_effort(self, effort: Effort) -> Self {
        Self { effort, ..self }
    }

    #[cfg(test)]
    pub(super) fn looked_at(&self) -> usize {
        self.looked_at.get()
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<CachedStatement<'a>> {
        #[cfg(test)]
        self.ran.borrow_mut().insert(sql.to_owned());
        self.connection.prepare_cached(sql)
    }

    pub(super) fn page(&self, seq: Seq) -> rusqlite::Result<Page> {
        let narrow = self.narrow(&self.select.filter)?;
        if let Some(narrow) = narrow.as_ref().filter(|narrow| narrow.count <= self.few()) {
            return Ok(self.collect(narrow)?.page(seq));
        }
        let narrow = narrow.filter(|narrow| narrow.count <= self.most());
        let mut gather = Gather::in_order(self.select);
        self.may_collect.set(narrow.is_some());
        if narrow.is_some() {
            gather = gather.with_patience(self.effort.most);
        }
        if self.walk(&mut gather)?.is_none() {
            // An order by a field without an index.
            return Ok(self.look_at_all()?.page(seq));
        }
        match narrow {
            Some(narrow) if gather.is_out_of_patience() => Ok(self.collect(&narrow)?.page(seq)),
            _ => Ok(gather.page(seq)),
        }
    }

    fn few(&self) -> usize {
        self.effort.few.saturating_mul(self.worth())
    }

    fn most(&self) -> usize {
        self.effort.most.saturating_mul(self.worth())
    }

    /// A walk costs more where the order has several fields: it has to sort all rows that are equal in the first.
    fn worth(&self) -> usize {
        if self.select.order.len() > 1 { 10 } else { 1 }
    }

    /// The narrowest way to the rows that a filter can have: a column's ranges, or several columns' where it is enough that one part holds.
    fn narrow(&self, filter: &Expr) -> rusqlite::Result<Option<Narrow<'a>>> {
        let mut narrowest: Option<Narrow<'a>> = None;
        let keep = |narrowest: &mut Option<Narrow<'a>>, narrow: Narrow<'a>| {
            if narrowest.as_ref().is_none_or(|known| narrow.count < known.count) {
                *narrowest = Some(narrow);
            }
        };
        for column in self.columns() {
            if narrowest.as_ref().is_some_and(|narrow| narrow.count <= self.few()) {
                return Ok(narrowest);
            }
            if let Some(spans) = span::of(filter, &column.field) {
                let ranges = self.ranges(column, &spans).into_iter().map(|range| (column, range)).collect();
                keep(&mut narrowest, self.counted(ranges)?);
            }
        }
        match filter {
            Expr::And(parts) => {
                for part in parts.iter().filter(|part| matches!(part, Expr::Or(_))) {
                    if let Some(narrow) = self.narrow(part)? {
                        keep(&mut narrowest, narrow);
                    }
                }
            }
            Expr::Or(parts) => {
                if let Some(union) = self.narrow_union(parts)? {
                    keep(&mut narrowest, union);
                }
            }
            _ => {}
        }
        Ok(narrowest)
    }

    fn narrow_union(&self, parts: &[Expr]) -> rusqlite::Result<Option<Narrow<'a>>> {
        let mut union = Narrow { ranges: Vec::new(), count: 0 };
        for part in parts {
            let Some(narrow) = self.narrow(part)? else { return Ok(None) };
            union.ranges.extend(narrow.ranges);
            union.count += narrow.count;
            if union.count > self.most() {
                return Ok(None);
            }
        }
        Ok(Some(union))
    }

    fn columns(&self) -> impl Iterator<Item = &'a SqlColumn> {
        self.table.columns.iter().chain([&self.table.id])
    }

    fn counted(&self, ranges: Vec<(&'a SqlColumn, SqlRange)>) -> rusqlite::Result<Narrow<'a>> {
        let mut count = 0;
        for (column, range) in &ranges {
            let most = i64::try_from(self.most() + 1 - count).unwrap_or(i64::MAX);
            let one = |sql: &str, params: [&dyn ToSql; 3]| {
                self.statement(sql)?.query_row(params, |row| row.get::<_, i64>(0))
            };
            let found = match range {
                SqlRange::At(value, is_boolean) => one(&column.count_at, [value, is_boolean, &most])?,
                SqlRange::Between { low, low_is_open, high, high_is_open } => {
                    one(&column.count[open_ends(*low_is_open, *high_is_open)], [low, high, &most])?
                }
            };
            count += usize::try_from(found).unwrap_or(0);
            if count > self.most() {
                break;
            }
        }
        Ok(Narrow { ranges, count })
    }

    /// The ranges of a column in which these values are, in their order and apart from each other.
    fn ranges(&self, column: &SqlColumn, spans: &[Span]) -> Vec<SqlRange> {
        let is_id = std::ptr::eq(column, &raw const self.table.id);
        let kind_of_ids = match self.table.kind {
            KeyKind::Int => Kind::Number,
            KeyKind::Text => Kind::Text,
        };
        let mut ranges: Vec<SqlRange> = Vec::with_capacity(spans.len());
        for range in spans.iter().filter(|span| !is_id || span.kind == kind_of_ids).flat_map(sql_ranges) {
            if !ranges.last_mut().is_some_and(|last| last.joins(&range)) {
                ranges.push(range);
            }
        }
        ranges
    }

    /// All rows of some ranges, in any order.
    fn collect(&self, narrow: &Narrow<'_>) -> rusqlite::Result<Gather<'a>> {
        let mut gather = Gather::new(self.select);
        let mut known = HashSet::new();
        // A row may be in ranges of two columns, and `true` is among the numbers.
        let may_repeat = narrow.ranges.len() > 1;
        for (column, range) in &narrow.ranges {
            let mut add = |row: StoredRow| {
                if !may_repeat || known.insert(row.key.clone()) {
                    gather.add(row);
                }
                true
            };
            match range {
                SqlRange::At(value, is_boolean) => {
                    self.rows_at(column, value, *is_boolean, None, &mut add)?
                }
                SqlRange::Between { low, low_is_open, high, high_is_open } => {
                    let sql = &column.rows[open_ends(*low_is_open, *high_is_open)];
                    self.rows(sql, params![low, high], &mut add)?
                }
            };
        }
        Ok(gather)
    }

    fn look_at_all(&self) -> rusqlite::Result<Gather<'a>> {
        let mut gather = Gather::new(self.select);
        for range in self.ranges(&self.table.id, &span::everything()) {
            if let SqlRange::Between { low, high, .. } = range {
                let add = |row| gather.add(row);
                self.rows(&self.table.id.rows[open_ends(false, false)], params![low, high], add)?;
            }
        }
        Ok(gather)
    }

    /// The rows in the order that is asked for; `None` if there is no index to go along.
    fn walk(&self, gather: &mut Gather<'_>) -> rusqlite::Result<Option<bool>> {
        let Some(by) = self.select.order.first() else { return self.walk_ids(gather, false).map(Some) };
        if by.field == self.table.id.field {
            return self.walk_ids(gather, by.descending).map(Some);
        }
        let Some(column) = self.table.column(by.field) else { return Ok(None) };
        let mut spans = span::of(&self.select.filter, by.field).unwrap_or_else(span::everything);
        if let Some(begin) = self.select.after.as_ref().and_then(|after| after.values.first()) {
            // Rows with this value may be many: those before the place's id are not looked at.
            spans = span::intersection(&spans, &span::behind(begin, by.descending));
        }
        let mut ranges: Vec<_> =
            self.ranges(column, &spans).into_iter().flat_map(SqlRange::without_booleans).collect();
        if by.descending {
            ranges.reverse();
        }
        for range in ranges {
            let more = match range {
                SqlRange::At(value, is_boolean) => self.equals(column, &value, is_boolean, gather)?,
                SqlRange::Between { ref low, .. } if is_exact(low) && self.select.order.len() == 1 => {
                    self.walk_rows(column, range, by.descending, gather)?
                }
                SqlRange::Between { .. } => self.walk_values(column, range, by.descending, gather)?,
            };
            if !more {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    /// The rows of a range in the order of the column. Equal ones come by their ids also where the greatest value comes first.
    fn walk_rows(
        &self,
        column: &SqlColumn,
        range: SqlRange,
        descending: bool,
        gather: &mut Gather<'_>,
    ) -> rusqlite::Result<bool> {
        let SqlRange::Between { low, low_is_open, mut high, mut high_is_open } = range else {
            return Ok(true);
        };
        if !descending {
            let sql = &column.rows[open_ends(low_is_open, high_is_open)];
            return self.rows(sql, params![low, high], |row| gather.add(row));
        }
        loop {
            // The greatest ids come first: those of one value are turned around.
            let mut equal: Vec<(Look, StoredRow)> = Vec::new();
            let mut is_long = false;
            let sql = &column.back[open_ends(low_is_open, high_is_open)];
            let more = self.rows(sql, params![low, high], |row| {
                let look = self.select.look(&row.key, &row.body);
                let Some(value) = look.value() else { return true };
                let is_equal = equal.last().is_none_or(|(last, _)| last.value() == Some(value));
                if !is_equal && !equal.drain(..).rev().all(|(look, row)| gather.offer(look, row)) {
                    return false;
                }
                equal.push((look, row));
                is_long = equal.len() > self.effort.equal;
                !is_long
            })?;
            let value = equal.last().and_then(|(look, _)| look.value()).filter(|_| is_long);
            let Some(value) = value.map(SqlValue::of) else {
                return Ok(more && equal.drain(..).rev().all(|(look, row)| gather.offer(look, row)));
            };
            // So many that they are better read the other way.
            if !self.equals(column, &value, false, gather)? {
                return Ok(false);
            }
            (high, high_is_open) = (value, true);
        }
    }

    /// One value of the column after another: the rows with it are to be sorted.
    fn walk_values(
        &self,
        column: &SqlColumn,
        range: SqlRange,
        descending: bool,
        gather: &mut Gather<'_>,
    ) -> rusqlite::Result<bool> {
        let SqlRange::Between { mut low, mut low_is_open, mut high, mut high_is_open } = range else {
            return Ok(true);
        };
        loop {
            let statements = if descending { &column.greatest } else { &column.least };
            let value = self
                .statement(&statements[open_ends(low_is_open, high_is_open)])?
                .query_row(params![low, high], |row| Ok(SqlValue::read(row.get_ref(0)?)))
                .optional()?;
            let Some(value) = value else { return Ok(true) };
            let more = self.equals(column, &value, false, gather)?;
            if !more {
                return Ok(false);
            }
            if descending {
                (high, high_is_open) = (value, true);
            } else {
                (low, low_is_open) = (value, true);
            }
        }
    }

    /// The rows with one value in the first field of the order.
    fn equals(
        &self,
        column: &SqlColumn,
        value: &SqlValue,
        is_boolean: bool,
        gather: &mut Gather<'_>,
    ) -> rusqlite::Result<bool> {
        // Different whole numbers may be one to SQL.
        if is_exact(value) && self.select.order.len() == 1 {
            let begin = self.select.after.as_ref().filter(|after| {
                after.values.first().is_some_and(|first| {
                    SqlValue::of(first) == *value && matches!(first, Value::Bool(_)) == is_boolean
                })
            });
            let add = |row| gather.add(row);
            return self.rows_at(column, value, is_boolean, begin.map(|place| &place.key), add);
        }
        let (mut rows, mut passed, mut last) = (Vec::new(), 0, None::<Place>);
        let room = gather.room();
        let enough = if self.may_collect.get() { self.effort.most } else { usize::MAX };
        let begun = self.looked_at.get();
        let is_done = self.rows_at(column, value, is_boolean, None, |row| {
            if self.looked_at.get() - begun > enough {
                return false;
            }
            let Look { matches, place } = self.select.look(&row.key, &row.body);
            let Some(place) = place.filter(|place| gather.is_after(place)) else {
                return true;
            };
            if last.as_ref().is_none_or(|last| place.compare(last, &self.select.order).is_gt()) {
                last = Some(place.clone());
            }
            if matches {
                rows.push((place, row));
                keep_first(&mut rows, self.select, room);
            } else {
                passed += 1;
            }
            true
        })?;
        if !is_done {
            gather.give_up();
            return Ok(false);
        }
        rows.sort_unstable_by(|(a, _), (b, _)| a.compare(b, &self.select.order));
        for (_, row) in rows {
            if !gather.take(row) {
                return Ok(false);
            }
        }
        Ok(gather.pass(passed, last))
    }

    /// The rows by their ids.
    fn walk_ids(&self, gather: &mut Gather<'_>, descending: bool) -> rusqlite::Result<bool> {
        let begin = self.select.after.as_ref().map(|after| &after.key);
        let id = &self.table.id;
        let spans = span::of(&self.select.filter, &id.field);
        if spans.is_none()
            && !descending
            && let Some(legs) = self.legs()?
        {
            return self.merge(&legs, begin, gather);
        }
        let mut spans = spans.unwrap_or_else(span::everything);
        if let Some(begin) = begin {
            let begin = Value::from(begin);
            let behind = if descending {
                span::between(None, Some(&begin))
            } else {
                span::between(Some(&begin), None)
            };
            spans = span::intersection(&spans, &behind);
        }
        let mut ranges = self.ranges(id, &spans);
        if descending {
            ranges.reverse();
        }
        for range in ranges {
            let add = |row| gather.add(row);
            let more = match range {
                SqlRange::At(value, _) => self.rows_at(id, &value, false, None, add)?,
                SqlRange::Between { low, low_is_open, high, high_is_open } => {
                    let statements = if descending { &id.back } else { &id.rows };
                    self.rows(&statements[open_ends(low_is_open, high_is_open)], params![low, high], add)?
                }
            };
            if !more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The few values of one field between which all rows of the filter are divided.
    fn legs(&self) -> rusqlite::Result<Option<Vec<Leg<'a>>>> {
        let mut narrowest: Option<Narrow<'a>> = None;
        for column in &self.table.columns {
            let Some(spans) = span::of(&self.select.filter, &column.field) else { continue };
            let ranges = self.ranges(column, &spans);
            if ranges.len() > LEGS || !ranges.iter().all(|range| matches!(range, SqlRange::At(..))) {
                continue;
            }
            let narrow = self.counted(ranges.into_iter().map(|range| (column, range)).collect())?;
            let width = |narrow: &Narrow<'_>| (narrow.count, narrow.ranges.len());
            if narrowest.as_ref().is_none_or(|known| width(&narrow) < width(known)) {
                narrowest = Some(narrow);
            }
        }
        let leg = |(column, range)| match range {
            SqlRange::At(value, is_boolean) => Some(Leg { column, value, is_boolean }),
            SqlRange::Between { .. } => None,
        };
        Ok(narrowest.map(|narrow| narrow.ranges.into_iter().filter_map(leg).collect()))
    }

    fn merge(
        &self,
        legs: &[Leg<'_>],
        begin: Option<&Key>,
        gather: &mut Gather<'_>,
    ) -> rusqlite::Result<bool> {
        if let [leg] = legs {
            let add = |row| gather.add(row);
            return self.rows_at(leg.column, &leg.value, leg.is_boolean, begin, add);
        }
        let mut ahead: Vec<VecDeque<StoredRow>> = Vec::with_capacity(legs.len());
        for leg in legs {
            ahead.push(self.some_rows_at(leg, begin)?);
        }
        loop {
            let heads = ahead.iter().enumerate().filter_map(|(leg, rows)| Some((&rows.front()?.key, leg)));
            let Some((_, first)) = heads.min() else { return Ok(true) };
            let (Some(leg), Some(rows)) = (legs.get(first), ahead.get_mut(first)) else {
                return Ok(true);
            };
            let Some(row) = rows.pop_front() else { return Ok(true) };
            if rows.is_empty() {
                *rows = self.some_rows_at(leg, Some(&row.key))?;
                if rows.front().is_some_and(|again| again.key == row.key) {
                    rows.pop_front();
                }
            }
            if !gather.add(row) {
                return Ok(false);
            }
        }
    }

    fn some_rows_at(&self, leg: &Leg<'_>, from: Option<&Key>) -> rusqlite::Result<VecDeque<StoredRow>> {
        let mut rows = VecDeque::new();
        self.rows_at(leg.column, &leg.value, leg.is_boolean, from, |row| {
            rows.push_back(row);
            rows.len() < ROWS_AHEAD
        })?;
        Ok(rows)
    }

    /// The rows with this value, by their ids from this one on.
    fn rows_at(
        &self,
        column: &SqlColumn,
        value: &SqlValue,
        is_boolean: bool,
        from: Option<&Key>,
        add: impl FnMut(StoredRow) -> bool,
    ) -> rusqlite::Result<bool> {
        let least = match self.table.kind {
            KeyKind::Int => Key::Int(i64::MIN),
            KeyKind::Text => Key::Text("".into()),
        };
        let from = SqlKey(from.unwrap_or(&least));
        self.rows(&column.rows_at, params![value, is_boolean, from], add)
    }

    fn rows(
        &self,
        sql: &str,
        params: impl Params,
        mut add: impl FnMut(StoredRow) -> bool,
    ) -> rusqlite::Result<bool> {
        let mut statement = self.statement(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            self.looked_at.set(self.looked_at.get() + 1);
            if !add(stored_row(row)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The rows with one value in a column.
struct Leg<'a> {
    column: &'a SqlColumn,
    value: SqlValue,
    is_boolean: bool,
}

impl SqlRange {
    /// Where it begins and ends, if it has both.
    fn closed(&self) -> (Option<&SqlValue>, Option<&SqlValue>) {
        match self {
            Self::At(value, false) => (Some(value), Some(value)),
            Self::At(_, true) => (None, None),
            Self::Between { low, low_is_open, high, high_is_open } => {
                ((!low_is_open).then_some(low), (!high_is_open).then_some(high))
            }
        }
    }

    /// Takes in a range that begins with its last value: as SQL sees them, two that are apart may not be.
    fn joins(&mut self, next: &Self) -> bool {
        let ((_, Some(end)), (Some(begin), _)) = (self.closed(), next.closed()) else { return false };
        if end != begin || *end == SqlValue::Null {
            return false;
        }
        let (mut low, mut low_is_open) = (end.clone(), false);
        if let Self::Between { low: begin, low_is_open: is_open, .. } = self {
            (low, low_is_open) = (begin.clone(), *is_open);
        }
        let (high, high_is_open) = match next {
            Self::At(value, _) => (value.clone(), false),
            Self::Between { high, high_is_open, .. } => (high.clone(), *high_is_open),
        };
        *self = Self::between(low, low_is_open, high, high_is_open);
        true
    }

    /// In parts without 0 and 1, so that no time is lost on booleans, and without the numbers that are rounded. The order of the parts is theirs.
    fn without_booleans(self) -> Vec<Self> {
        let Self::Between { mut low, mut low_is_open, high, high_is_open } = self else { return vec![self] };
        let (Some(mut from), Some(to)) = (low.number(), high.number()) else {
            return vec![Self::Between { low, low_is_open, high, high_is_open }];
        };
        let mut parts = Vec::new();
        for cut in [0.0, 1.0, I64_END] {
            let (begins_before, ends_behind) = (from < cut, cut < to);
            let is_in =
                (begins_before || from <= cut && !low_is_open) && (ends_behind || cut <= to && !high_is_open);
            if !is_in {
                continue;
            }
            if begins_before {
                parts.push(Self::Between { low, low_is_open, high: SqlValue::Real(cut), high_is_open: true });
            }
            (low, low_is_open, from) = (SqlValue::Real(cut), false, cut);
            if cut < I64_END {
                parts.push(Self::At(low.clone(), false));
                low_is_open = true;
            }
        }
        // 0 and 1 are exact as floats; others that seem equal need not be.
        let is_used_up = !parts.is_empty() && low_is_open && from >= to;
        if !is_used_up {
            parts.push(Self::between(low, low_is_open, high, high_is_open));
        }
        parts
    }

    fn between(low: SqlValue, low_is_open: bool, high: SqlValue, high_is_open: bool) -> Self {
        if low == high && !low_is_open && !high_is_open {
            Self::At(low, false)
        } else {
            Self::Between { low, low_is_open, high, high_is_open }
        }
    }
}

/// Where the values of a span are in a column.
fn sql_ranges(span: &Span) -> Vec<SqlRange> {
    let (least, greatest) = match span.kind {
        Kind::Other => return vec![SqlRange::At(SqlValue::Null, false)],
        Kind::Bool => {
            let is_in = |value: &bool| span.contains(&Value::Bool(*value));
            let at = |value: bool| SqlRange::At(SqlValue::Int(value.into()), true);
            return [false, true].into_iter().filter(is_in).map(at).collect();
        }
        Kind::Number => (SqlValue::Real(f64::NEG_INFINITY), SqlValue::Real(f64::INFINITY)),
        Kind::Text => (SqlValue::Text([].into()), SqlValue::End),
    };
    let end = |bound: &Bound<Value>, without: SqlValue| match bound {
        Bound::Unbounded => (without, false),
        Bound::Included(value) => (SqlValue::of(value), false),
        Bound::Excluded(value) => {
            let value = SqlValue::of(value);
            let is_exact = is_exact(&value);
            (value, is_exact)
        }
    };
    let ((low, low_is_open), (high, high_is_open)) = (end(&span.low, least), end(&span.high, greatest));
    vec![SqlRange::between(low, low_is_open, high, high_is_open)]
}

/// Whether a column has this for no two values that differ.
fn is_exact(value: &SqlValue) -> bool {
    !matches!(value, SqlValue::Real(value) if *value >= I64_END)
}

/// A page that passed over more rows than this is told in the log.
const WORTH_A_WORD: usize = 2_000;

/// At most so many values of a field are read side by side.
const LEGS: usize = 64;

/// How many rows of each are read at once.
const ROWS_AHEAD: usize = 32;
