//! What `#[sync_handlers]` takes, and what it registers.

#![forbid(unsafe_code)]
#![deny(warnings)]

use std::{error, fmt};

use serde::{Deserialize, Serialize};
use sync_core::{
    __private::{HandlerRegistration, ModelRegistration, inventory},
    Context, Filter, Query, Result, SyncedModel, sync_handlers,
};

macro_rules! models {
    ($($model:ident)*) => {$(
        #[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
        struct $model {
            id: u64,
            text: String,
        }
    )*};
}

models! { Errors Patterns Plain Partly Helpers Aliases Lifetimes Conditional Elsewhere Actions OnlyActions }

#[derive(Debug)]
struct MyError;

impl fmt::Display for MyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mine")
    }
}

impl error::Error for MyError {}

#[sync_handlers]
impl Errors {
    async fn create(_ctx: &Context, draft: Self) -> Result<Self, MyError> {
        if draft.text.is_empty() { Err(MyError) } else { Ok(draft) }
    }

    async fn update(
        _ctx: &Context,
        current: &Self,
        next: Self,
    ) -> std::result::Result<Self, std::num::ParseIntError> {
        let _: u8 = current.text.parse()?;
        Ok(next)
    }

    async fn delete(_ctx: &Context, _current: &Errors) -> Result<(), fmt::Error> {
        Ok(())
    }

    async fn read(_ctx: &Context) -> Result<Filter<Self>, std::convert::Infallible> {
        Ok(Filter::all())
    }

    async fn read_all(_ctx: &Context, query: Query<Self>) -> Result<Query<Self>, MyError> {
        Ok(query.page_size(10))
    }
}

#[sync_handlers]
impl Patterns {
    async fn create(_: &Context, mut draft: Patterns) -> Result<Patterns> {
        draft.text.clear();
        Ok(draft)
    }

    async fn update(
        _ctx: &Context,
        Patterns { text, .. }: &Patterns,
        next @ Patterns { .. }: Patterns,
    ) -> Result<Patterns> {
        Ok(Patterns { text: text.clone(), ..next })
    }

    #[allow(unused_variables)]
    async fn read(context: &Context) -> Result<Filter<Patterns>> {
        Ok(Filter::none())
    }
}

#[sync_handlers(crud)]
impl Plain {}

#[sync_handlers(crud)]
impl Partly {
    async fn delete(_ctx: &Context, _current: &Partly) -> Result<()> {
        Ok(())
    }
}

#[sync_handlers]
impl Helpers {
    const LIMIT: usize = 10;

    async fn create(ctx: &Context, draft: Helpers) -> Result<Helpers> {
        Self::check(ctx, &draft)?;
        Self::pause().await;
        Self::pass(std::pin::pin!(Self::pause())).await;
        Self::generic(&1).await;
        Self::call(&str::trim, "x").await;
        Ok(draft.shortened())
    }

    fn check(_ctx: &Context, draft: &Self) -> Result<()> {
        if draft.text.len() > Self::LIMIT {
            Err(sync_core::Error::invalid("text", "is too long"))
        } else {
            Ok(())
        }
    }

    fn shortened(mut self) -> Self {
        self.text.truncate(Self::LIMIT);
        self
    }

    async fn pause() {
        std::future::ready(()).await;
    }

    async fn pass(future: impl Future<Output = ()> + Send) {
        future.await;
    }

    async fn call<'a>(f: &'a (dyn for<'b> Fn(&'b str) -> &'b str + Sync), text: &'a str) -> &'a str {
        Self::pause().await;
        f(text)
    }

    async fn generic<T: Sync>(_: &T) {
        Self::pause().await;
    }
}

type Ctx = Context;
type Reference<'a> = &'a Context;
type Row = Aliases;
type Answer = sync_core::Result<Row>;

#[sync_handlers]
impl Aliases {
    async fn create(_ctx: &Ctx, draft: Row) -> Answer {
        Ok(draft)
    }

    async fn read(_ctx: Reference<'_>) -> sync_core::Result<Filter<Row>> {
        Ok(Filter::all())
    }
}

#[sync_handlers(crud)]
impl Lifetimes {
    async fn update<'a>(_ctx: &'a Context, current: &'a Lifetimes, next: Self) -> Result<Self> {
        Ok(Self { text: current.text.clone(), ..next })
    }
}

#[sync_handlers]
impl Conditional {
    #[cfg(not(test))]
    async fn create(_ctx: &Context, draft: NoSuchType) -> Result<NoSuchType> {
        Ok(draft)
    }

    #[cfg(test)]
    async fn create(_ctx: &Context, draft: Conditional) -> Result<Conditional> {
        Ok(draft)
    }

    #[cfg(not(test))]
    async fn craete(_ctx: &Context) -> Result<()> {
        Ok(())
    }

    async fn read(_ctx: &Context) -> Result<Filter<Conditional>> {
        Ok(Filter::all())
    }

    #[cfg(not(test))]
    async fn delete(_ctx: &Context, _current: &Conditional) -> Result<()> {
        Ok(())
    }
}

mod elsewhere {
    use sync_core::{Context, Filter, Result, sync_handlers};

    #[sync_handlers]
    impl super::Elsewhere {
        async fn read(_ctx: &Context) -> Result<Filter<super::Elsewhere>> {
            Ok(Filter::all())
        }
    }
}

/// What is registered for the type of that name, and in which line.
fn registered<R: inventory::Collect + std::fmt::Debug>(name: &str) -> (String, usize) {
    let all = inventory::iter::<R>.into_iter().map(|registration| format!("{registration:?}"));
    let mut found = all.filter(|text| text.contains(&format!("::{name} at ")));
    let text = found.next().expect("it is registered");
    assert_eq!(found.next(), None);
    let (before, at) = text.split_once(" at ").expect("it has a place");
    let place = at.trim_end_matches(')').strip_prefix(file!()).expect("it is in this file");
    let line = place.split(':').nth(1).and_then(|line| line.parse().ok());
    (before.to_owned(), line.expect("it has a line"))
}

#[test]
fn what_is_declared_is_registered_and_nothing_else() {
    for (name, methods) in [
        ("Errors", r#"["create", "read", "read_all", "update", "delete"]"#),
        ("Patterns", r#"["create", "read", "update"]"#),
        ("Plain", r#"["create", "read", "update", "delete"]"#),
        ("Partly", r#"["create", "read", "update", "delete"]"#),
        ("Helpers", r#"["create"]"#),
        ("Aliases", r#"["create", "read"]"#),
        ("Lifetimes", r#"["create", "read", "update", "delete"]"#),
        ("Conditional", r#"["create", "read"]"#),
        ("Elsewhere", r#"["read"]"#),
    ] {
        let (table, line) = registered::<HandlerRegistration>(name);
        assert_eq!(table, format!("{methods} of handlers::{name}"));
        let impl_line = include_str!("handlers.rs").lines().nth(line - 1).unwrap();
        assert!(impl_line.trim().starts_with("impl ") && impl_line.contains(name), "{name}: {impl_line}");
    }
}

#[test]
fn a_model_is_registered_at_its_name() {
    let (model, line) = registered::<ModelRegistration>("Somewhere");
    assert_eq!(model, "Somewhere (handlers::Somewhere");
    assert_eq!(include_str!("handlers.rs").lines().nth(line - 1), Some("struct Somewhere {"));
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
/// It is registered here.
struct Somewhere {
    id: u64,
}

type Request<'a> = &'a Context;

#[sync_handlers(crud)]
impl Actions {
    /// Documented.
    #[action]
    async fn plain(
        ctx: &Context,
        mut count: u32,
        r#type: Option<String>,
    ) -> Result<(u32, Option<String>), MyError> {
        count += ctx.attempt();
        if count == 0 { Err(MyError) } else { Ok((count, r#type)) }
    }

    #[action]
    async fn other(_: Request<'_>, rows: Vec<Self>) -> Result<Self> {
        Ok(rows.into_iter().next().unwrap_or_default())
    }

    #[cfg(any())]
    #[action]
    async fn twice(_ctx: &Context, never: NoSuchType) -> Result<()> {}

    #[cfg(not(any()))]
    #[action]
    async fn twice(_ctx: &Context) -> Result<()> {
        Ok(())
    }

    async fn read(_ctx: &Context) -> Result<Filter<Self>> {
        Ok(Filter::all())
    }
}

/// It needs no `read`.
#[sync_handlers]
impl OnlyActions {
    #[action]
    async fn ping(_ctx: &Context) -> Result<&'static str> {
        Ok("pong")
    }
}

#[test]
fn actions_are_registered() {
    let table = |name: &str| {
        let registered = inventory::iter::<HandlerRegistration>.into_iter().map(|table| format!("{table:?}"));
        registered.into_iter().find(|table| table.contains(&format!("::{name} at"))).unwrap()
    };
    let actions = table("Actions");
    assert!(
        actions.starts_with(r#"["create", "read", "update", "delete", "plain", "other", "twice"]"#),
        "{actions}"
    );
    assert!(table("OnlyActions").starts_with(r#"["ping"]"#));
}
