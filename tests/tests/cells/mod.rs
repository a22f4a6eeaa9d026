//! Numbers in groups, and an action that does with them whatever a test says: what transactions are tried on. The same steps can be done on a plain
//! map, one transaction after the other, which is what they have to come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sync_core::{Context, Filter, Result, SyncType, SyncedModel, sync_handlers};

use sync_tests::gate::pass;

/// A number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, SyncedModel)]
pub(crate) struct Cell {
    /// Its name.
    pub id: String,
    /// What belongs together.
    #[sync(index)]
    pub group: String,
    /// The number.
    #[sync(index)]
    pub value: i64,
}

/// A step of a transaction. Each sees a number, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, SyncType)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// The number of a cell.
    Get(String),
    /// The sum of a group.
    Sum(String),
    /// The greatest of a group.
    Top(String),
    /// Adds to a cell.
    Add(String, i64),
    /// Sets a cell to the sum of all that was seen.
    Store(String),
    /// Makes a cell in a group.
    Put(String, String, i64),
    /// Deletes a cell.
    Drop(String),
    /// Moves a cell to another group.
    Move(String, String),
    /// Stops at a gate, the first time that it is run.
    Pass(String),
}

/// What a transaction has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, SyncType)]
pub(crate) struct Seen {
    /// How often it was run.
    pub attempt: u32,
    /// What each step saw.
    pub numbers: Vec<Option<i64>>,
}

#[sync_handlers(crud)]
impl Cell {
    /// Does all steps.
    #[action]
    async fn run(ctx: &Context, steps: Vec<Step>) -> Result<Seen> {
        Ok(Seen { attempt: ctx.attempt(), numbers: run(ctx, &steps).await? })
    }

    /// Makes a cell in a group unless it has so many.
    #[action]
    async fn book(ctx: &Context, group: String, most: usize) -> Result<bool> {
        let taken = ctx.query(Cell::GROUP.eq(&group)).count().await?;
        tokio::task::yield_now().await;
        if taken < most {
            ctx.insert(Cell { id: String::new(), group, value: 1 }).await?;
        }
        Ok(taken < most)
    }
}

/// The steps in a transaction.
pub(crate) async fn run(ctx: &Context, steps: &[Step]) -> Result<Vec<Option<i64>>> {
    let mut seen: Vec<Option<i64>> = Vec::new();
    for step in steps {
        let number = match step {
            Step::Get(id) => ctx.get::<Cell>(id).await?.map(|cell| cell.value),
            Step::Sum(group) => {
                Some(ctx.query(Cell::GROUP.eq(group)).await?.iter().map(|cell| cell.value).sum())
            }
            Step::Top(group) => {
                let top = ctx.query(Cell::GROUP.eq(group)).order([Cell::VALUE.desc()]);
                top.first().await?.map(|cell| cell.value)
            }
            Step::Put(id, group, value) => match ctx.get::<Cell>(id).await? {
                Some(_) => None,
                None => {
                    let cell = Cell { id: id.clone(), group: group.clone(), value: *value };
                    Some(ctx.insert(cell).await?.value)
                }
            },
            Step::Pass(name) => {
                if ctx.attempt() == 1 {
                    pass(name).await;
                }
                None
            }
            Step::Add(id, _) | Step::Store(id) | Step::Drop(id) | Step::Move(id, _) => {
                match ctx.get::<Cell>(id).await? {
                    None => None,
                    Some(cell) => Some(change(ctx, step, cell, &seen).await?),
                }
            }
        };
        seen.push(number);
    }
    Ok(seen)
}

async fn change(ctx: &Context, step: &Step, mut cell: Cell, seen: &[Option<i64>]) -> Result<i64> {
    match step {
        Step::Add(_, number) => cell.value += number,
        Step::Store(_) => cell.value = stored(seen),
        Step::Move(_, group) => cell.group.clone_from(group),
        _ => {
            ctx.delete(&cell).await?;
            return Ok(cell.value);
        }
    }
    ctx.update(&cell).await?;
    Ok(cell.value)
}

/// Small, so that a long history stays within 64 bits.
fn stored(seen: &[Option<i64>]) -> i64 {
    seen.iter().flatten().sum::<i64>() % 1_000_003
}

/// Cells as a plain map.
pub(crate) type Cells = BTreeMap<String, (String, i64)>;

/// The same steps on a map.
pub(crate) fn replay(cells: &mut Cells, steps: &[Step]) -> Vec<Option<i64>> {
    let mut seen: Vec<Option<i64>> = Vec::new();
    for step in steps {
        let in_group = |group: &String| -> Vec<i64> {
            cells.values().filter(|(of, _)| of == group).map(|(_, value)| *value).collect()
        };
        let number = match step {
            Step::Get(id) => cells.get(id).map(|(_, value)| *value),
            Step::Sum(group) => Some(in_group(group).iter().sum()),
            Step::Top(group) => in_group(group).into_iter().max(),
            Step::Put(id, group, value) => {
                let is_new = !cells.contains_key(id);
                is_new.then(|| {
                    cells.insert(id.clone(), (group.clone(), *value));
                    *value
                })
            }
            Step::Pass(_) => None,
            Step::Drop(id) => cells.remove(id).map(|(_, value)| value),
            Step::Add(id, number) => cells.get_mut(id).map(|(_, value)| {
                *value += number;
                *value
            }),
            Step::Store(id) => cells.get_mut(id).map(|(_, value)| {
                *value = stored(&seen);
                *value
            }),
            Step::Move(id, to) => cells.get_mut(id).map(|(group, value)| {
                group.clone_from(to);
                *value
            }),
        };
        seen.push(number);
    }
    seen
}

/// All cells.
pub(crate) async fn all(rows: &sync_core::Handle) -> Cells {
    let cells = rows.query::<Cell>(Filter::all()).await.unwrap();
    cells.into_iter().map(|cell| (cell.id, (cell.group, cell.value))).collect()
}
