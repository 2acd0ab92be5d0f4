//! A slow network: passes bytes on between a client and a server on this host, answers to fetches of map outputs at a bounded
//! rate, and breaks all connections when it is told to, with what was on the way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Bytes that are passed on at once, and how long the next ones wait: 1 MiB a second for each connection.
const PIECE_BYTES: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(16);

/// A slow network in front of one server; it ends with its owner.
pub struct Throttle {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// A fetch that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The partition.
    pub partition: u64,
    /// From which byte on.
    pub from: u64,
}

#[derive(Default)]
struct Seen {
    /// Bytes of answers to fetches that were passed on.
    passed: AtomicUsize,
    /// Fetches that were asked for, where that is not encrypted.
    asked: Mutex<Vec<Asked>>,
    cut: Notify,
}

impl Throttle {
    /// Starts in front of a server's port. `is_all`: everything that the server sends is an answer to a fetch.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(target: u16, is_all: bool) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let seen = Arc::clone(&shared);
                tokio::spawn(async move {
                    tokio::select! {
                        _ = serve(client, target, is_all, &seen) => (),
                        () = seen.cut.notified() => (),
                    }
                });
            }
        });
        Ok(Self { port, seen, task })
    }

    /// Returns how many bytes of answers to fetches were passed on.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.seen.passed.load(Ordering::Relaxed)
    }

    /// Returns the fetches that were asked for, in that order; none of what is encrypted.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }

    /// Breaks all connections; new ones are passed on.
    pub fn cut(&self) {
        self.seen.cut.notify_waiters();
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, target: u16, is_all: bool, seen: &Seen) -> Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
    let (mut asked, mut answer) = (vec![0; 64 << 10], vec![0; PIECE_BYTES]);
    let mut is_fetch = is_all;
    loop {
        tokio::select! {
            read = from_client.read(&mut asked) => {
                let bytes = &asked[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                if [b"GET ".as_slice(), b"PUT ", b"POST "].iter().any(|verb| bytes.starts_with(verb)) {
                    is_fetch = is_all || bytes.starts_with(b"POST /v1/worker/fetch");
                }
                note_fetch(bytes, seen);
                to_server.write_all(bytes).await?;
            }
            read = from_server.read(&mut answer) => {
                let bytes = &answer[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                to_client.write_all(bytes).await?;
                if is_fetch {
                    seen.passed.fetch_add(bytes.len(), Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Remembers a fetch, if it is one.
fn note_fetch(bytes: &[u8], seen: &Seen) {
    let text = String::from_utf8_lossy(bytes);
    let number = |name: &str| -> Option<u64> {
        let digits = text.split_once(name)?.1.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    if let (Some(partition), Some(from), Ok(mut all)) =
        (number("\"partition\":"), number("\"from\":"), seen.asked.lock())
    {
        all.push(Asked { partition, from });
    }
}
