//! What is kept in sync: seats in rooms, and memos, which those in their room see, and their owner wherever they are.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sync_core::{Context, Error, Filter, Query, Result, SyncedModel, sync_handlers};

use crate::dice;

/// Who is asking.
pub(crate) struct Me(pub(crate) String);

/// That a person is in a room.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub(crate) struct Seat {
    id: String,
    #[sync(index)]
    person: String,
    #[sync(index)]
    room: i64,
}

#[sync_handlers]
impl Seat {
    async fn read(ctx: &Context) -> Result<Filter<Seat>> {
        pause().await;
        Ok(Seat::PERSON.eq(&ctx.require::<Me>()?.0))
    }

    #[action]
    async fn enter(ctx: &Context, room: i64) -> Result<bool> {
        let seat = Seat::of(&ctx.require::<Me>()?.0, room);
        pause().await;
        if ctx.get::<Seat>(seat.id.clone()).await?.is_some() {
            return Ok(false);
        }
        pause().await;
        ctx.insert(seat).await?;
        Ok(true)
    }

    #[action]
    async fn leave(ctx: &Context, room: i64) -> Result<bool> {
        let seat = Seat::of(&ctx.require::<Me>()?.0, room);
        match ctx.get::<Seat>(seat.id).await? {
            Some(seat) => {
                pause().await;
                ctx.delete(&seat).await.map(|()| true)
            }
            None => Ok(false),
        }
    }
}

impl Seat {
    pub(crate) fn of(person: &str, room: i64) -> Self {
        Self { id: format!("{person}/{room}"), person: person.into(), room }
    }

    pub(crate) fn key(&self) -> String {
        self.id.clone()
    }
}

/// What is in a room.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub(crate) struct Memo {
    pub(crate) id: u64,
    #[sync(index)]
    pub(crate) room: i64,
    #[serde(default)]
    #[sync(index)]
    pub(crate) rank: Option<i64>,
    /// Says which mutation wrote it.
    #[serde(default)]
    pub(crate) text: String,
    #[sync(server_only, index)]
    pub(crate) owner: String,
}

#[sync_handlers]
impl Memo {
    async fn create(ctx: &Context, draft: Memo) -> Result<Memo> {
        let me = &ctx.require::<Me>()?.0;
        pause().await;
        if ctx.get::<Seat>(Seat::of(me, draft.room).id).await?.is_none() {
            return Err(Error::invalid("room", "is none of yours"));
        }
        Ok(Memo { owner: me.clone(), ..draft })
    }

    async fn update(_ctx: &Context, _current: &Memo, next: Memo) -> Result<Memo> {
        pause().await;
        if next.rank == Some(9) {
            return Err(Error::invalid("rank", "is too high"));
        }
        Ok(next)
    }

    async fn delete(_ctx: &Context, _current: &Memo) -> Result<()> {
        pause().await;
        Ok(())
    }

    async fn read(ctx: &Context) -> Result<Filter<Memo>> {
        let me = &ctx.require::<Me>()?.0;
        pause().await;
        let seats = ctx.query(Seat::PERSON.eq(me)).await?;
        pause().await;
        Ok(Memo::ROOM.one_of(seats.iter().map(|seat| seat.room)) | Memo::OWNER.eq(me))
    }

    async fn read_all(_ctx: &Context, query: Query<Memo>) -> Result<Query<Memo>> {
        Ok(query.page_size(5))
    }

    /// Several rows at once: all or none.
    #[action]
    async fn carry(ctx: &Context, from: i64, to: i64) -> Result<usize> {
        let memos = ctx.query(ctx.scope::<Memo>().await? & Memo::ROOM.eq(from)).limit(5).await?;
        for memo in &memos {
            ctx.update(&Memo { room: to, ..memo.clone() }).await?;
            pause().await;
        }
        Ok(memos.len())
    }
}

/// Handlers take their time, now and then, and sometimes they fall over.
async fn pause() {
    if dice::is_calm() {
        return;
    }
    match dice::inside(|dice| dice.below(400)) {
        0 => std::panic::panic_any(Deliberate),
        throw @ 1..80 => tokio::time::sleep(Duration::from_millis(throw % 7)).await,
        _ => {}
    }
}

/// What a handler falls over with.
pub(crate) struct Deliberate;
