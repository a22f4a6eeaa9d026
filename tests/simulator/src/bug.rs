//! Mistakes to be made on purpose: each must be found.

use std::cell::Cell;

use clap::ValueEnum;
use sync_core::sabotage::{self, Sabotage};

/// What a client, or the server, does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bug {
    /// A client keeps where its rows are before it keeps the rows.
    CursorBeforeRows,
    /// A client takes a subscription for live that has fallen behind.
    BehindUnheard,
    /// A client ends a mutation before its rows show it.
    MutationEndsEarly,
    /// A client forgets that a mutation was refused, and tells nobody.
    RejectionForgotten,
    /// A client gives a mutation a new id when it sends it again.
    SentUnderNewId,
    /// A client acknowledges what it does not know yet.
    AcknowledgedEarly,
    /// A client does not send again what was refused for now.
    RetryForgotten,
    /// A client takes what comes after a `reset` for a part of its rows.
    ResetUnheard,
    /// The server decides a mutation again that it has decided before.
    DuplicatesDecided,
    /// The server does not record what it has refused.
    RejectionsForgotten,
    /// The server tells subscribers before the store has it.
    BroadcastBeforeCommit,
    /// The server confirms before the store has it.
    ConfirmBeforeFlush,
    /// The server lets a subscription that has caught up go on one transaction too late.
    ResumedTooLate,
    /// The server tells nobody that a row has left their sight.
    RemovesLost,
    /// The server says that a row is gone to those who never saw it.
    RemovesForUnseen,
    /// The server leaves out what was too much for a client.
    OverflowSwallowed,
    /// The server does not see that the log does not go back as far as a client was away.
    HorizonIgnored,
    /// The server goes on under the scope that a subscription had.
    ScopeChangesIgnored,
    /// The server decides what was sent after a mutation that is to be sent again.
    LaterDecidedFirst,
    /// The server lets a session go on that is revoked.
    RevocationsIgnored,
}

impl Bug {
    /// All of them.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    fn of_server(self) -> Option<Sabotage> {
        Some(match self {
            Self::DuplicatesDecided => Sabotage::DuplicatesDecided,
            Self::RejectionsForgotten => Sabotage::RejectionsForgotten,
            Self::BroadcastBeforeCommit => Sabotage::BroadcastBeforeCommit,
            Self::ConfirmBeforeFlush => Sabotage::ConfirmBeforeFlush,
            Self::ResumedTooLate => Sabotage::ResumedTooLate,
            Self::RemovesLost => Sabotage::RemovesLost,
            Self::RemovesForUnseen => Sabotage::RemovesForUnseen,
            Self::OverflowSwallowed => Sabotage::OverflowSwallowed,
            Self::HorizonIgnored => Sabotage::HorizonIgnored,
            Self::ScopeChangesIgnored => Sabotage::ScopeChangesIgnored,
            Self::RevocationsIgnored => Sabotage::RevocationsIgnored,
            Self::LaterDecidedFirst => Sabotage::LaterDecidedFirst,
            _ => return None,
        })
    }
}

thread_local! {
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

pub(crate) fn begin(bug: Option<Bug>) {
    BUG.set(bug);
    sabotage::set(bug.and_then(Bug::of_server));
}

pub(crate) fn is(bug: Bug) -> bool {
    BUG.get() == Some(bug)
}
