//! What a listener of Gristmill needs, the coordinator's and a worker's alike: a certificate, a bound on connections, and
//! limits and deadlines for the heads of requests.
//!
//! HTTP/1.1 only: a stalled HTTP/2 connection would be reused for ever. What is answered is the caller's router.

mod accept;
mod fetch;
mod private;
pub mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use gristmill_common::limits;
use hyper_util::rt::TokioTimer;
use tokio::task::JoinHandle;

use accept::Counted;
pub use fetch::frames;
pub use private::write_private;
pub use tls::{Tls, TlsError, own_names};

/// Stops a listener.
pub type Handle = axum_server::Handle<SocketAddr>;

/// Serves the router in a task of its own, with at most so many connections at a time.
///
/// # Errors
/// When the runtime does not take the listener, which must not block.
pub fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    connections: usize,
    handle: Handle,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let head = Duration::from_millis(limits::HEADER_READ_MS);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let counted = Counted::new(connections);
    let plain = axum_server::from_tcp(listener)?.handle(handle);
    Ok(match tls {
        None => {
            let mut server = plain.acceptor(counted).http1_only();
            let mut http = server.http_builder().http1();
            http.timer(TokioTimer::new()).header_read_timeout(head);
            http.max_headers(limits::HEADERS).max_buf_size(limits::HEAD_BYTES);
            tokio::spawn(server.serve(service))
        }
        Some(tls) => {
            let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls.config)).acceptor(counted);
            let mut server = plain.acceptor(acceptor).http1_only();
            let mut http = server.http_builder().http1();
            http.timer(TokioTimer::new()).header_read_timeout(head);
            http.max_headers(limits::HEADERS).max_buf_size(limits::HEAD_BYTES);
            tokio::spawn(server.serve(service))
        }
    })
}

/// Returns the host under which other machines most likely reach a listener, as URLs write it.
#[must_use]
pub fn outside_host(bound: IpAddr, own_address: Option<IpAddr>, own_name: String) -> String {
    let address = if bound.is_unspecified() { own_address } else { Some(bound) };
    match address {
        Some(IpAddr::V6(address)) => format!("[{address}]"),
        Some(IpAddr::V4(address)) => address.to_string(),
        None => own_name,
    }
}
