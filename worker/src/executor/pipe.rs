//! The executor's end of its pipes.
//!
//! The pipes are moved away from the standard streams before user code runs, so that a `println!` in a map function goes to
//! the log and not into the protocol. When the supervisor is gone, the executor's whole process group goes too.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::sync::mpsc;

use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};

use super::protocol::{Order, Reply};

/// Orders in, replies out.
pub(crate) trait Link {
    /// Waits for the next order; `None` when there will be none.
    fn receive(&mut self) -> Option<Order>;
    /// Sends a reply; `false` when nobody listens.
    fn send(&mut self, reply: Reply) -> bool;
}

/// The link of an executor that is a process.
pub(crate) struct PipeLink {
    orders: mpsc::Receiver<Order>,
    replies: File,
}

impl PipeLink {
    /// Takes the pipes away from stdin and stdout, which become nothing and the log.
    pub(crate) fn take_stdio() -> io::Result<Self> {
        let orders = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let replies = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
        rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
        let (send, receive) = mpsc::channel();
        std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
            read_orders(orders, &send);
            die_with_supervisor();
        })?;
        Ok(Self { orders: receive, replies })
    }
}

fn read_orders(orders: File, send: &mpsc::Sender<Order>) {
    for line in BufReader::new(orders).lines() {
        let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        let Some(order) = order else { return };
        if send.send(order).is_err() {
            return;
        }
    }
}

/// User code may be in a loop on the main thread, or have children: nothing less than a signal ends them all.
fn die_with_supervisor() {
    if getpgrp() == getpid() {
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
}

impl Link for PipeLink {
    fn receive(&mut self) -> Option<Order> {
        self.orders.recv().ok()
    }

    fn send(&mut self, reply: Reply) -> bool {
        let Ok(mut line) = serde_json::to_vec(&reply) else { return false };
        line.push(b'\n');
        self.replies.write_all(&line).is_ok()
    }
}

/// The link of an executor that is a thread.
pub(crate) struct ChannelLink {
    pub(crate) orders: tokio::sync::mpsc::UnboundedReceiver<Order>,
    pub(crate) replies: tokio::sync::mpsc::UnboundedSender<Reply>,
}

impl Link for ChannelLink {
    fn receive(&mut self) -> Option<Order> {
        self.orders.blocking_recv()
    }

    fn send(&mut self, reply: Reply) -> bool {
        self.replies.send(reply).is_ok()
    }
}
