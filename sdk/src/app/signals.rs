//! Ctrl-C and SIGTERM end servers gently; a second one ends them at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Waits for Ctrl-C, SIGTERM or SIGHUP; for ever where they cannot be listened for.
pub async fn stop() {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Cancels the token at the first SIGINT or SIGTERM, and ends the process at the second.
pub fn cancel_on_stop(token: CancellationToken) {
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            tracing::warn!("cannot listen for signals: stop this process with SIGKILL");
            return;
        };
        for stops in 0.. {
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            if stops > 0 {
                std::process::exit(code);
            }
            tracing::info!("stopping; once more to stop at once");
            token.cancel();
        }
    });
}
