//! Others' code, run so that a panic in it fails one request and no more.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, task::Poll};

use crate::{Error, Result};

/// Runs a handler; a panic in it fails this one request.
pub(super) async fn guarded<T>(handler: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>) -> Result<T> {
    match catch_panic(handler).await {
        Ok(outcome) => outcome,
        Err(panic) => Err(Error::internal(format!("a handler panicked: {panic}"))),
    }
}

/// Runs a future of others' code; what it panicked with is the error.
pub(crate) async fn catch_panic<T>(
    mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>,
) -> Result<T, String> {
    std::future::poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            Poll::Ready(Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()))
        }
    })
    .await
}
