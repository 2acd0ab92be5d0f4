//! An HTTP proxy that damages what workers and coordinator send each other: whole messages are read, and a body is passed on
//! as it is, with a bit flipped, cut short, or with an older body of the same kind in its place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::chance::Chance;

/// A proxy in front of a coordinator; it ends with its owner.
pub struct Proxy {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    harm: Arc<Harm>,
    task: JoinHandle<()>,
}

struct Harm {
    chance: Mutex<Chance>,
    /// One body in so many is damaged; 0 for none.
    one_in: AtomicUsize,
    done: AtomicUsize,
    stale: Mutex<Vec<u8>>,
}

struct Message {
    head: Vec<String>,
    body: Vec<u8>,
    is_bodyless: bool,
}

impl Proxy {
    /// Starts in front of a coordinator's port, damaging one body in `one_in` of those that hold records.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(target: u16, one_in: usize, chance: Chance) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let harm = Arc::new(Harm {
            chance: Mutex::new(chance),
            one_in: AtomicUsize::new(one_in),
            done: AtomicUsize::new(0),
            stale: Mutex::new(Vec::new()),
        });
        let shared = Arc::clone(&harm);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let harm = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _ = serve(client, target, &harm).await;
                });
            }
        });
        Ok(Self { port, harm, task })
    }

    /// Returns how many bodies were damaged.
    #[must_use]
    pub fn damaged(&self) -> usize {
        self.harm.done.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, target: u16, harm: &Harm) -> Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target)).await?;
    let ((from_client, mut to_client), (from_server, mut to_server)) = (client.into_split(), server.into_split());
    let (mut from_client, mut from_server) = (BufReader::new(from_client), BufReader::new(from_server));
    loop {
        let mut request = read(&mut from_client, false).await?;
        let line = request.head.first().cloned().unwrap_or_default();
        let is_upload = line.starts_with("PUT /v1/worker/output/");
        let cut = if is_upload { harm.touch(&mut request.body) } else { None };
        to_server.write_all(&written(&request, cut)).await?;
        if cut.is_some() {
            return Ok(());
        }
        let mut answer = read(&mut from_server, line.starts_with("HEAD ")).await?;
        let is_data = line.starts_with("POST /v1/worker/fetch") || line.starts_with("GET /v1/worker/part/");
        let is_good = answer.head.first().is_some_and(|line| line.contains(" 20"));
        let cut = if is_data && is_good { harm.touch(&mut answer.body) } else { None };
        to_client.write_all(&written(&answer, cut)).await?;
        if cut.is_some() {
            return Ok(());
        }
    }
}

impl Harm {
    /// Damages the body, perhaps; `Some` says after how many bytes the connection breaks.
    fn touch(&self, body: &mut Vec<u8>) -> Option<usize> {
        let (Ok(mut chance), Ok(mut stale)) = (self.chance.lock(), self.stale.lock()) else { return None };
        let one_in = self.one_in.load(Ordering::Relaxed);
        if body.is_empty() || one_in == 0 || chance.index(one_in) > 0 {
            stale.clone_from(body);
            return None;
        }
        match chance.index(4) {
            0 if *stale != *body && !stale.is_empty() => body.clone_from(&stale),
            1 => {
                self.done.fetch_add(1, Ordering::Relaxed);
                return Some(chance.index(body.len()));
            }
            2 => body.truncate(chance.index(body.len())),
            _ => {
                let at = chance.index(body.len());
                body[at] ^= 1 << chance.index(8);
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn written(message: &Message, cut: Option<usize>) -> Vec<u8> {
    let mut text: String = message.head.iter().map(|line| format!("{line}\r\n")).collect();
    if !message.is_bodyless {
        text += &format!("content-length: {}\r\n", message.body.len());
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(&message.body[..cut.unwrap_or(message.body.len())]);
    bytes
}

/// Reads a whole message; the lines of its head come without those that say how long the body is.
async fn read(from: &mut BufReader<impl AsyncRead + Unpin>, is_head: bool) -> Result<Message> {
    let (mut head, mut length, mut is_chunked) = (Vec::new(), None, false);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).await? == 0 {
            bail!("closed");
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        match lower.split_once(':') {
            Some(("content-length", value)) if !is_head => length = Some(value.trim().parse::<usize>()?),
            Some(("transfer-encoding", _)) => is_chunked = true,
            _ => head.push(line),
        }
    }
    let start = head.first().context("a first line")?;
    let is_answer = start.starts_with("HTTP/");
    let is_bodyless = is_head || start.contains(" 204") || start.contains(" 304");
    let mut body = Vec::new();
    if is_chunked {
        body = chunks(from).await?;
    } else if let Some(length) = length {
        body.resize(length, 0);
        from.read_exact(&mut body).await?;
    } else if is_answer && !is_bodyless {
        from.read_to_end(&mut body).await?;
    }
    Ok(Message { head, body, is_bodyless })
}

async fn chunks(from: &mut BufReader<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).await?;
        let length = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16)?;
        let start = body.len();
        body.resize(start + length, 0);
        from.read_exact(&mut body[start..]).await?;
        line.clear();
        from.read_line(&mut line).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}
