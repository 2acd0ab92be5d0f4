//! A token goes to the pinned coordinator or to this machine, and nowhere else; refusals say what to do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use gristmill_client::{Client, ClientError, Endpoint, EndpointError};
use gristmill_common::{Code, Digest, Problem};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const ABOUT: &str = r#"{"version":"1","cluster":"00000000-0000-0000-0000-000000000000","epoch":1,"roots":[]}"#;

/// Serves connections with one canned answer, and passes on the heads of the requests it got.
struct Server {
    address: SocketAddr,
    heads: Receiver<String>,
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

fn serve(answer: String, tls: Option<Arc<rustls::ServerConfig>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (send, heads) = channel();
    let send = Mutex::new(send);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let head = match &tls {
                None => read_head(&mut stream).inspect(|_| stream.write_all(answer.as_bytes()).expect("answered")),
                Some(config) => {
                    let mut tls = rustls::ServerConnection::new(Arc::clone(config)).expect("a configuration");
                    let mut stream = rustls::Stream::new(&mut tls, &mut stream);
                    let head = read_head(&mut stream);
                    if head.is_some() {
                        stream.write_all(answer.as_bytes()).expect("answered");
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                    head
                }
            };
            if let Some(head) = head {
                let _ = send.lock().expect("no panic").send(head);
            }
        }
    });
    Server { address, heads }
}

fn plain(answer: String) -> Server {
    serve(answer, None)
}

fn with_certificate(answer: String) -> (Server, Digest) {
    let made = rcgen::generate_simple_self_signed(vec!["elsewhere.example".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let pin = Digest::of(made.cert.der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    (serve(answer, Some(Arc::new(config))), pin)
}

fn client(line: &str) -> Client {
    Client::new(line.parse::<Endpoint>().expect(line)).expect("a client")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn the_pinned_certificate_is_accepted_whatever_its_name() {
    let (server, pin) = with_certificate(answer("200 OK", "", ABOUT));
    let client = client(&format!("https://{}#{pin}.secret", server.address));
    assert_eq!(block_on(client.about()).expect("trusted").epoch, 1);
    let head = server.heads.recv().expect("a request").to_lowercase();
    assert!(head.starts_with("get /v1/about http/1.1\r\n") && head.contains("authorization: bearer secret"), "{head}");
}

#[test]
fn another_certificate_gets_no_request() {
    let (server, _) = with_certificate(answer("200 OK", "", ABOUT));
    for line in [
        format!("https://{}#{}.secret", server.address, Digest::of(b"another")),
        format!("https://{}#.secret", server.address),
    ] {
        let error = block_on(client(&line).about()).expect_err("not trusted");
        assert!(matches!(error, ClientError::BadCertificate { .. }), "{error}");
        assert!(!error.to_string().contains("secret") && !error.is_transient(), "{error}");
    }
    assert!(server.heads.try_recv().is_err());
}

#[test]
fn a_token_is_not_sent_over_plain_http_to_another_machine() {
    let error = block_on(client("http://192.0.2.1:4750#.secret").about()).expect_err("refused");
    assert!(matches!(error, ClientError::Endpoint(EndpointError::PlainHttp { .. })), "{error}");
}

#[test]
fn a_redirect_is_not_followed() {
    let target = plain(answer("200 OK", "", ABOUT));
    let location = format!("location: http://{}/v1/about\r\n", target.address);
    let server = plain(answer("307 Temporary Redirect", &location, ""));
    let error = block_on(client(&format!("http://{}#.secret", server.address)).about()).expect_err("not followed");
    assert!(matches!(error, ClientError::Malformed { .. }), "{error}");
    assert!(target.heads.try_recv().is_err());
}

#[test]
fn refusals_are_told_apart() {
    let problem = Problem::at("/steps/0", "no such program");
    let body = serde_json::to_string(&problem).expect("JSON");
    let cases = [
        (answer("400 Bad Request", "", &body), Some(Code::Invalid), false),
        (answer("401 Unauthorized", "", ""), Some(Code::Unauthorized), false),
        (answer("503 Service Unavailable", "", "<html>"), Some(Code::Unavailable), true),
        (answer("500 Internal Server Error", "", "oops"), None, false),
        (answer("200 OK", "", "<html>"), None, false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(), None, true),
    ];
    for (answer, code, transient) in cases {
        let server = plain(answer.clone());
        let error = block_on(client(&format!("http://{}#.secret", server.address)).about()).expect_err(&answer);
        assert_eq!((error.code(), error.is_transient()), (code, transient), "{answer}: {error}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let error = block_on(client(&format!("http://{closed}#.secret")).about()).expect_err("nobody there");
    assert!(matches!(error, ClientError::Unreachable { .. }) && error.is_transient(), "{error}");
}

#[test]
fn paths_and_filters_are_encoded() {
    let server = plain(answer("200 OK", "", r#"{"url":"store://a/b c","bytes":0}"#));
    let client = client(&format!("http://{}#.secret", server.address));
    block_on(client.put_file("a/b c?d", "x", Some(1))).expect("stored");
    let head = server.heads.recv().expect("a request");
    assert!(head.starts_with("PUT /v1/store/a/b%20c%3Fd HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-length: 1\r\n"), "{head}");
}
