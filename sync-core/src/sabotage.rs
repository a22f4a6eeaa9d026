//! Mistakes that the server makes where the simulator of this project asks for one: each must be found.
//!
//! Without the feature `simulation` there is nothing of it.

#[cfg(feature = "simulation")]
use std::cell::Cell;

/// A mistake, on this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A mutation that was decided before is decided again.
    DuplicatesDecided,
    /// What was refused is not recorded.
    RejectionsForgotten,
    /// Subscribers are told before the store has it.
    BroadcastBeforeCommit,
    /// A client is told that its mutation is committed before it is.
    ConfirmBeforeFlush,
    /// A subscription that has caught up goes on one transaction too late.
    ResumedTooLate,
    /// Nobody is told that a row has left their sight.
    RemovesLost,
    /// A row that was never in sight is said to be gone.
    RemovesForUnseen,
    /// What was too much for a client's tail is left out.
    OverflowSwallowed,
    /// A client that was away for longer than the log goes back is told what is left of it.
    HorizonIgnored,
    /// Subscriptions go on under the scope that they had.
    ScopeChangesIgnored,
    /// What is sent after a mutation that is to be sent again is decided before it.
    LaterDecidedFirst,
    /// A session that is revoked goes on.
    RevocationsIgnored,
}

#[cfg(feature = "simulation")]
thread_local! {
    static MISTAKE: Cell<Option<Sabotage>> = const { Cell::new(None) };
}

/// From now on the server makes this mistake, where it runs on this thread.
#[cfg(feature = "simulation")]
pub fn set(mistake: Option<Sabotage>) {
    MISTAKE.set(mistake);
}

#[cfg(feature = "simulation")]
pub(crate) fn is(mistake: Sabotage) -> bool {
    MISTAKE.get() == Some(mistake)
}

#[cfg(not(feature = "simulation"))]
pub(crate) const fn is(_: Sabotage) -> bool {
    false
}
