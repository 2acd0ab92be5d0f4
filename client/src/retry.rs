//! Tries a call again while the coordinator cannot be reached or is too busy. For calls that may be carried out twice.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::error::ClientError;

/// Makes the call until it succeeds, fails for good, or has failed for as long as `patience`.
///
/// # Errors
/// The last failure.
pub async fn idempotent<T, F>(patience: Duration, mut call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut backoff = Backoff::default();
    let end = Instant::now() + patience;
    loop {
        match call().await {
            Err(error) if error.is_transient() => {
                let wait = backoff.draw();
                if Instant::now() + wait >= end {
                    return Err(error);
                }
                sleep(wait).await;
            }
            result => return result,
        }
    }
}
