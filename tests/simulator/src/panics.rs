//! Panics within the server: those of handlers that are meant, and those that nobody meant.

use std::{cell::RefCell, panic};

use crate::models::Deliberate;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics instead of printing them.
pub(crate) fn watch() {
    panic::set_hook(Box::new(|info| {
        if !info.payload().is::<Deliberate>() {
            LAST.set(Some(info.to_string()));
        }
    }));
}

/// The last one on this thread that nobody meant.
pub(crate) fn take() -> Option<String> {
    LAST.take()
}
