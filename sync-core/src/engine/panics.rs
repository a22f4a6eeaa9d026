//! Others' code, run so that a panic in it, or that it never ends, fails one request and no more.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, task::Poll, time::Duration};

use tokio::time::timeout;

use crate::{Error, Result};

/// Runs a handler; a panic in it fails this one request, and so does that it is not done after `limit`: then it is dropped where it waits.
pub(super) async fn guarded<T>(
    limit: Duration,
    handler: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>,
) -> Result<T> {
    match timeout(limit, catch_panic(handler)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(Error::internal(format!("a handler panicked: {panic}"))),
        Err(_) => {
            tracing::warn!(?limit, "a handler did not end in time");
            Err(Error::handler_timeout(limit))
        }
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
