//! The models: who sees what, and what belongs together.

use serde::{Deserialize, Serialize};
use sync_core::{Context, Error, ErrorCode, Filter, Query, Result, SyncedModel, sync_handlers};

use crate::sign_in::Me;

/// Somebody who has signed in once.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub(crate) struct Person {
    pub(crate) id: u64,
    #[sync(index)]
    pub(crate) name: String,
}

#[sync_handlers]
impl Person {
    /// Those who are signed in see each other's names.
    async fn read(ctx: &Context) -> Result<Filter<Person>> {
        ctx.require::<Me>()?;
        Ok(Filter::all())
    }
}

/// A room. Everybody may find it and join it; what is said in it is for its members.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub(crate) struct Room {
    pub(crate) id: u64,
    #[sync(index)]
    name: String,
}

#[sync_handlers]
impl Room {
    async fn read(ctx: &Context) -> Result<Filter<Room>> {
        ctx.require::<Me>()?;
        Ok(Filter::all())
    }

    /// Who opens a room is its moderator. Room and member are one transaction: there is no room without one.
    #[action]
    async fn open(ctx: &Context, name: String) -> Result<u64> {
        let me = ctx.require::<Me>()?;
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 40 {
            return Err(Error::invalid("name", "must have 1 to 40 characters"));
        }
        if ctx.query(Room::NAME.eq(name)).first().await?.is_some() {
            return Err(Error::invalid("name", "is taken"));
        }
        let room = ctx.insert(Room { id: 0, name: name.to_owned() }).await?;
        ctx.insert(Member::of(room.id, me.id, true)).await?;
        Ok(room.id)
    }

    #[action]
    async fn join(ctx: &Context, room: u64) -> Result<()> {
        let me = ctx.require::<Me>()?;
        if ctx.get::<Room>(room).await?.is_none() {
            return Err(Error::not_found());
        }
        let member = Member::of(room, me.id, false);
        if ctx.get::<Member>(member.id.clone()).await?.is_none() {
            ctx.insert(member).await?;
        }
        Ok(())
    }

    #[action]
    async fn leave(ctx: &Context, room: u64) -> Result<()> {
        let me = ctx.require::<Me>()?;
        ctx.delete(&Member::in_room(ctx, room, me.id).await?).await
    }

    /// A moderator shows somebody out: from then on that person sees nothing of the room, on no page that is open.
    #[action]
    async fn remove(ctx: &Context, room: u64, person: u64) -> Result<()> {
        let me = ctx.require::<Me>()?;
        Member::moderator(ctx, room, me.id).await?;
        ctx.delete(&Member::in_room(ctx, room, person).await?).await
    }

    /// I have read what is there.
    #[action]
    async fn mark_read(ctx: &Context, room: u64) -> Result<()> {
        let me = ctx.require::<Me>()?;
        let member = Member::in_room(ctx, room, me.id).await?;
        if member.unread > 0 {
            ctx.update(&Member { unread: 0, ..member }).await?;
        }
        Ok(())
    }
}

/// That somebody is in a room. Its id is made of both, so that nobody is in a room twice.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub(crate) struct Member {
    pub(crate) id: String,
    #[sync(index)]
    room: u64,
    #[sync(index)]
    person: u64,
    moderator: bool,
    /// Messages since this member last looked: counted in the transaction of each message, so it is never wrong.
    unread: u32,
}

#[sync_handlers]
impl Member {
    /// The members of one's rooms.
    async fn read(ctx: &Context) -> Result<Filter<Member>> {
        let me = ctx.require::<Me>()?;
        // Looked up and remembered: when I join a room, or am shown out, my open lists follow.
        Ok(Member::ROOM.one_of(Member::rooms(ctx, me.id).await?))
    }
}

impl Member {
    fn of(room: u64, person: u64, moderator: bool) -> Self {
        Self { id: format!("{room}/{person}"), room, person, moderator, unread: 0 }
    }

    /// The rooms that somebody is in.
    async fn rooms(ctx: &Context, person: u64) -> Result<Vec<u64>> {
        let members = ctx.query(Member::PERSON.eq(person)).await?;
        Ok(members.iter().map(|member| member.room).collect())
    }

    async fn in_room(ctx: &Context, room: u64, person: u64) -> Result<Self> {
        ctx.get::<Member>(format!("{room}/{person}")).await?.ok_or_else(Error::not_found)
    }

    async fn moderator(ctx: &Context, room: u64, person: u64) -> Result<Self> {
        let member = Self::in_room(ctx, room, person).await?;
        if member.moderator {
            Ok(member)
        } else {
            Err(Error::new(ErrorCode::Forbidden, "only a moderator may do this"))
        }
    }
}

/// What somebody said in a room.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub(crate) struct Message {
    pub(crate) id: u64,
    #[sync(index)]
    room: u64,
    text: String,
    /// Nobody: it is a program's.
    #[sync(read_only)]
    #[serde(default)]
    author: Option<u64>,
    #[sync(read_only)]
    #[serde(default)]
    sent_at: i64,
}

#[sync_handlers]
impl Message {
    async fn create(ctx: &Context, draft: Message) -> Result<Message> {
        let me = ctx.require::<Me>()?;
        Member::in_room(ctx, draft.room, me.id).await?;
        draft.counted(ctx, Some(me.id)).await
    }

    /// One's own, and in a room that one moderates everybody's.
    async fn delete(ctx: &Context, current: &Message) -> Result<()> {
        let me = ctx.require::<Me>()?;
        if current.author != Some(me.id) {
            Member::moderator(ctx, current.room, me.id).await?;
        }
        Ok(())
    }

    async fn read(ctx: &Context) -> Result<Filter<Message>> {
        let me = ctx.require::<Me>()?;
        Ok(Message::ROOM.one_of(Member::rooms(ctx, me.id).await?))
    }

    /// Nobody needs all that was ever said: a list is a window.
    async fn read_all(_ctx: &Context, query: Query<Message>) -> Result<Query<Message>> {
        Ok(query.page_size(100))
    }
}

impl Message {
    /// Says something in a room, from a program.
    pub(crate) async fn post(ctx: &Context, room: u64, author: Option<u64>, text: String) -> Result<Self> {
        if ctx.get::<Room>(room).await?.is_none() {
            return Err(Error::not_found());
        }
        let message = Self { id: 0, room, text, author: None, sent_at: 0 };
        ctx.insert(message.counted(ctx, author).await?).await
    }

    /// The message as it is stored, and counted as unread for the other members, in the same transaction.
    async fn counted(self, ctx: &Context, author: Option<u64>) -> Result<Self> {
        let text = self.text.trim();
        if text.is_empty() || text.chars().count() > 2_000 {
            return Err(Error::invalid("text", "must have 1 to 2,000 characters"));
        }
        for member in ctx.query(Member::ROOM.eq(self.room)).await? {
            if Some(member.person) != author {
                ctx.update(&Member { unread: member.unread + 1, ..member }).await?;
            }
        }
        Ok(Self { text: text.to_owned(), author, sent_at: ctx.unix_millis(), ..self })
    }
}
