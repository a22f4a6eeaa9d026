//! Mistakes of a client, to be made on purpose: each must be found.

use std::cell::Cell;

/// What a client does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Bug {
    /// A client that goes on later than where its rows are.
    CursorBeforeRows,
    /// A client that takes a subscription for live that has fallen behind.
    BehindUnheard,
    /// A client that ends a mutation before its rows show it.
    MutationEndsEarly,
    /// A client that forgets that a mutation was refused, and tells nobody.
    RejectionForgotten,
    /// A client that gives a mutation a new id when it sends it again.
    SentUnderNewId,
    /// A client that acknowledges what it does not know yet.
    AcknowledgedEarly,
    /// A client that does not send again what was refused for now.
    RetryForgotten,
    /// A client that takes what comes after a `reset` for a part of it.
    ResetUnheard,
}

thread_local! {
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

pub(crate) fn begin(bug: Option<Bug>) {
    BUG.set(bug);
}

pub(crate) fn is(bug: Bug) -> bool {
    BUG.get() == Some(bug)
}
