//! Panics within the server: those of handlers that are meant, and those that nobody meant.

use std::{
    cell::{Cell, RefCell},
    panic,
    sync::Once,
};

use crate::models::Deliberate;

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics of this thread instead of printing them, or prints them again.
pub(crate) fn watch(is_watched: bool) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_WATCHED.get() {
                before(info);
            } else if !info.payload().is::<Deliberate>() {
                LAST.set(Some(info.to_string()));
            }
        }));
    });
    IS_WATCHED.set(is_watched);
}

/// The last one on this thread that nobody meant.
pub(crate) fn take() -> Option<String> {
    LAST.take()
}
