//! The macros of [`sync-core`](https://docs.rs/sync-core), which re-exports them: use that crate, not this one.
//!
//! An item is parsed into a small model of it, and building that model is its validation: what is wrong is collected, so
//! that one compile shows all mistakes of an item, each where it stands. What cannot be told from tokens is left to traits
//! of the runtime, whose messages the compiler prints on the user's own types. The generated code has no logic: it is a
//! trait impl, one small closure a handler and one registration each.

mod docs;
mod errors;
mod handlers;
mod model;
mod runtime;
#[cfg(test)]
mod snapshots;
mod suggest;
mod sync_type;
mod tokens;

use proc_macro::TokenStream;

/// Makes a struct a model: its rows are stored and kept in sync with every client that looks at them.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use sync_core::{Filter, SyncedModel};
///
/// #[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
/// struct Todo {
///     id: u64,
///     title: String,
///     #[serde(default)]
///     #[sync(index)]
///     completed: bool,
///     #[sync(index)]
///     list: String,
///     #[sync(read_only)]
///     created_at: i64,
///     #[sync(server_only, index)]
///     owner: u64,
/// }
///
/// let open: Filter<Todo> = Todo::LIST.eq("home") & Todo::COMPLETED.eq(false);
/// assert_eq!(<Todo as SyncedModel>::NAME, "Todo");
/// # let _ = open;
/// ```
///
/// The struct has named fields, no type or lifetime parameters, and serde's `Serialize` and `Deserialize` beside `Clone`,
/// all of them derived: what clients see and send is told by the struct and its attributes.
/// By itself a model is closed: what clients may do with it is said under [`#[sync_handlers]`](macro@sync_handlers).
///
/// # On the struct
///
/// | attribute | meaning |
/// | --- | --- |
/// | `#[sync(name = "Todo")]` | The model's name in messages, channels and the store; the struct's own by default. A letter, then letters, digits and `_`, at most 48 in all, not beginning with `sqlite_` or `sync_`. |
/// | `#[sync(crate = "...")]` | The path of `sync_core` where it has another name, or is re-exported: `#[sync(crate = "my_framework::sync_core")]`. |
///
/// # On a field
///
/// | attribute | meaning |
/// | --- | --- |
/// | `#[sync(id)]` | This is the row's id; without it, the field called `id` is. Its type implements `ModelId`: an integer, `String`, `Uuid`, or your own newtype. |
/// | `#[sync(index)]` | Filters may use the field, and a change is routed by it. Each costs an index in the store. The id needs none. Its name in JSON is not `and`, `or` or `not`, which join conditions in a client's `where`. |
/// | `#[sync(read_only)]` | Clients see the field, only the server sets it. A client that sends it is refused. |
/// | `#[sync(server_only)]` | The field never leaves the server: it is not in the type that is sent, and a client that sends it learns only that there is no such field. |
/// | `#[sync(ts = "string")]` | What the field is in TypeScript. Without it, its type's [`SyncType`](macro@SyncType) says so, else it is `unknown`. |
///
/// A field cannot hold a model that itself has `read_only` or `server_only` fields, since clients would see and set them
/// there: it holds the row's id instead.
///
/// Several go together, as in `#[sync(server_only, index)]`.
///
/// A row that a client creates lacks the fields that it may not send, and maybe its id. They are what
/// `#[serde(default = "...")]` says, else their type's [`Default`]; the server replaces the id, and your `create` handler
/// sets the others. On an update the server keeps what they were.
///
/// # Names and forms are serde's
///
/// Names in JSON, and what is left out of it, come from `#[serde(...)]` and nothing else. These hold for what is stored,
/// what clients see and what they send: `rename`, `rename_all`, `alias`, `default` (also on the struct), `with`,
/// `serialize_with`, `deserialize_with`, `skip`, `skip_serializing_if`. A field that serde skips is not stored.
/// What `skip_serializing_if` leaves out counts as null in filters, for your constants too; it needs a `default` beside it,
/// or an `Option`, so that the row can be read again.
/// What clients send is always checked as with `deny_unknown_fields`, and every wrong field is named in the answer.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use sync_core::SyncedModel;
/// #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// #[serde(rename_all = "camelCase")]
/// #[sync(name = "Message")]
/// struct ChatMessage {
///     #[sync(id)]
///     number: u64,
///     #[sync(index)]
///     sent_to: String,
///     #[serde(default, skip_serializing_if = "Option::is_none")]
///     reply_to: Option<u64>,
///     #[serde(skip)]
///     is_new: bool,
/// }
/// assert_eq!(ChatMessage::SENT_TO.name(), "sentTo");
/// ```
///
/// On the struct, `deny_unknown_fields` holds for what is stored alone: with it no field can be taken away later.
///
/// Refused, since then the fields were not those of the row, or not the same in both directions: `flatten`, `tag`,
/// `untagged`, `transparent`, `from`, `try_from`, `into`, `remote`, a `rename` or `rename_all` that differs for writing and
/// reading, and one half of `skip` alone.
///
/// # What is added
///
/// - The trait `SyncedModel`, and a registration by which the server finds the model in every crate that is linked.
/// - For each field that is stored a constant with the field's visibility and its name in capitals: `Todo::TITLE`. A filter
///   is made of them, and does not compile with a value of the wrong type or a field that is not indexed:
///
/// ```compile_fail
/// # use serde::{Deserialize, Serialize};
/// # use sync_core::{Filter, SyncedModel};
/// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// # struct Todo { id: u64, title: String }
/// let filter = Todo::TITLE.eq("milk"); // error: `title` is not marked `#[sync(index)]`
/// ```
#[proc_macro_derive(SyncedModel, attributes(sync))]
pub fn synced_model(input: TokenStream) -> TokenStream {
    model::derive(input.into()).into()
}

/// Tells TypeScript what a type is in JSON, for the fields of models.
///
/// Programs in TypeScript have the types of a server's models from `cargo run -- typescript`, or from `/sync/models.d.ts`. A field
/// of a type that has no `SyncType` is `unknown` there.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use sync_core::{SyncType, SyncedModel};
///
/// /// Where something is.
/// #[derive(Clone, Serialize, Deserialize, SyncType)]
/// struct Place {
///     street: String,
///     #[serde(default)]
///     floor: Option<i32>,
///     #[serde(with = "sync_core::integer_string")]
///     parcel: u64,
/// }
///
/// #[derive(Clone, Serialize, Deserialize, SyncType)]
/// #[serde(tag = "kind", rename_all = "snake_case")]
/// enum Contact {
///     Phone { number: String },
///     Visit(Place),
/// }
///
/// #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// struct Customer {
///     id: u64,
///     contacts: Vec<Contact>,
/// }
/// ```
///
/// ```ts
/// /** Where something is. */
/// export interface Place {
///   street: string;
///   floor: number | null;
///   parcel: string;
/// }
/// export type Contact = { kind: "phone"; number: string } | ({ kind: "visit" } & Place);
/// ```
///
/// Where what clients send is not what they see, as with `#[serde(default)]`, a second type `PlaceInsert` has what they send.
///
/// It takes structs and enums of every kind, with type parameters too, and reads serde's attributes: `rename`, `rename_all`,
/// `rename_all_fields`, `tag`, `content`, `untagged`, `transparent`, `default`, `skip` and its halves, `skip_serializing_if`, `flatten`, `from`,
/// `try_from`, `into`. Each field's type needs a `SyncType` too. A field that serde writes or reads by a function, with `with`,
/// `serialize_with` or `deserialize_with`, is `unknown` unless it is said what it is; `sync_core::integer_string` is known.
///
/// Floats are `number`, although serde writes as null those that are no number.
///
/// # Attributes
///
/// | attribute | on | meaning |
/// | --- | --- | --- |
/// | `#[sync(ts = "string")]` | the type, a field, a variant | What it is, in TypeScript. For a type with a `Serialize` of its own, and for fields of foreign types. On a field of a model as well. |
/// | `#[sync(name = "Place")]` | the type | Its name in TypeScript; its own by default. Of two with one name the second is called `Place2`. |
/// | `#[sync(crate = "...")]` | the type | The path of `sync_core` where it has another name. |
#[proc_macro_derive(SyncType, attributes(sync))]
pub fn sync_type(input: TokenStream) -> TokenStream {
    sync_type::derive(input.into()).into()
}

/// Says what clients may do with a model: put it on the model's impl, and write the functions that decide.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use sync_core::{Context, Error, Filter, Query, Result, SyncedModel, sync_handlers};
///
/// # #[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
/// # struct Todo { id: u64, title: String, #[sync(index)] archived: bool, #[sync(read_only)] created_at: i64 }
/// #[sync_handlers]
/// impl Todo {
///     async fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
///         if draft.title.trim().is_empty() {
///             return Err(Error::invalid("title", "must not be empty"));
///         }
///         Ok(Todo { created_at: ctx.unix_millis(), ..draft })
///     }
///
///     async fn update(_ctx: &Context, _current: &Todo, next: Todo) -> Result<Todo> {
///         Ok(next)
///     }
///
///     async fn delete(_ctx: &Context, _current: &Todo) -> Result<()> {
///         Ok(())
///     }
///
///     async fn read(_ctx: &Context) -> Result<Filter<Todo>> {
///         Ok(Filter::all())
///     }
///
///     async fn read_all(_ctx: &Context, query: Query<Todo>) -> Result<Query<Todo>> {
///         Ok(query.and(Todo::ARCHIVED.eq(false)).page_size(100))
///     }
/// }
/// ```
///
/// # The handlers
///
/// They are known by their names, and each may be left out: **what is not declared is refused.** An impl with none, and
/// without `crud`, is a mistake.
///
/// | handler | decides |
/// | --- | --- |
/// | `async fn create(ctx: &Context, draft: Todo) -> Result<Todo>` | what is stored for the row that a client drafted |
/// | `async fn update(ctx: &Context, current: &Todo, next: Todo) -> Result<Todo>` | what is stored instead of `current`; `next` has the client's changes, and the id and the server's fields as they are |
/// | `async fn delete(ctx: &Context, current: &Todo) -> Result<()>` | whether the row may go |
/// | `async fn read(ctx: &Context) -> Result<Filter<Todo>>` | which rows this client may see, and touch |
/// | `async fn read_all(ctx: &Context, query: Query<Todo>) -> Result<Query<Todo>>` | how a read of many rows is narrowed and paged |
///
/// `update`, `delete` and `read_all` need `read` beside them, since a row that a client may not see it cannot touch.
/// The error of a `Result` is `sync_core::Error`, or any type that implements `std::error::Error`; that is an internal
/// error to clients. `Self`, patterns and type aliases are fine in the signatures. The futures are `Send`.
///
/// # Actions
///
/// `#[action]` marks any other call of clients. Its name and those of its arguments are the function's:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use sync_core::{Context, Result, SyncedModel, sync_handlers};
/// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// # struct Todo { id: u64, #[sync(index)] list: String, #[sync(index)] completed: bool }
/// #[sync_handlers(crud)]
/// impl Todo {
///     /// Deletes what is done.
///     #[action]
///     async fn clear_completed(ctx: &Context, list: String, at_most: Option<usize>) -> Result<usize> {
///         let mine = ctx.scope::<Todo>().await?;
///         let done = ctx.query(mine & Todo::LIST.eq(list) & Todo::COMPLETED.eq(true));
///         let done = done.limit(at_most.unwrap_or(100)).await?;
///         for todo in &done {
///             ctx.delete(todo).await?;
///         }
///         Ok(done.len())
///     }
/// }
/// ```
///
/// Arguments own their values and have serde's `Deserialize`; those that may be null may be left out. The result is anything with `Serialize`.
/// An action is one transaction, done once. It has the server's own authority: what it may touch it asks `ctx.scope` for. An impl may have
/// actions alone. Their documentation goes to `models.d.ts`, and so do the types that have a `SyncType`.
///
/// # Arguments
///
/// - `#[sync_handlers(crud)]` gives those of `create`, `update`, `delete` and `read` that the impl does not write their
///   plain behaviour: whatever is asked is done, and every row is shown. Good for a first version:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use sync_core::{SyncedModel, sync_handlers};
/// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// # struct Note { id: u64, text: String }
/// #[sync_handlers(crud)]
/// impl Note {}
/// ```
///
/// - `#[sync_handlers(crate = "...")]` is the path of `sync_core` where it has another name, as on the model.
///
/// # What else may stand in the impl
///
/// The impl stays as it is, but for `#[allow(clippy::unused_async)]` on the handlers: they have to be async, whether they
/// wait or not. Constants, methods with `self`, functions that are not async or do not take a `&Context` first are yours.
/// An `async fn` whose first parameter is `&Context`, under whatever alias, is a mistake unless it is a handler: a typo must
/// not silently close a door. Helpers of that form go in another impl, without the attribute. So does a function of your own
/// that has the name of a handler and is none, and a call of a macro, in which a handler would not be seen.
///
/// ```compile_fail
/// # use serde::{Deserialize, Serialize};
/// # use sync_core::{Context, Result, SyncedModel, sync_handlers};
/// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// # struct Note { id: u64, text: String }
/// #[sync_handlers]
/// impl Note {
///     // error: `craete` takes a `&Context` but is no handler
///     //        did you mean `create`?
///     async fn craete(_ctx: &Context, draft: Note) -> Result<Note> {
///         Ok(draft)
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn sync_handlers(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handlers::attribute(arguments.into(), &item.into()).into()
}
