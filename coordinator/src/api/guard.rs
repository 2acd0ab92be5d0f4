//! What is checked before a handler runs: the name under which we were addressed, where the request came from, its token.
//!
//! The allow-list of names stops DNS rebinding: a page whose own name suddenly means this machine still sends that name.
//! Together with the origin check and the JSON content type, no page of a browser can reach anything here.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use gristmill_common::{Code, GrantName, Problem};

use super::App;
use super::answer::{Answer, Refusal};
use super::ask::bearer;
use crate::auth::{Identity, Scope};

/// The names under which a coordinator may be addressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hosts {
    names: Vec<String>,
    any_address: bool,
}

impl Hosts {
    /// Allows the names of loopback, the address that is bound, and further names.
    ///
    /// A wildcard address is bound on addresses that are not known here, so every address in digits is allowed then: a
    /// rebinding page has a name, and one that is itself served from such an address is no stranger to it.
    #[must_use]
    pub fn new(bound: SocketAddr, further: impl IntoIterator<Item = String>) -> Self {
        let mut names = vec!["localhost".to_owned(), bound.ip().to_string()];
        names.extend(further.into_iter().map(|name| name.to_ascii_lowercase()));
        Self { names, any_address: bound.ip().is_unspecified() }
    }

    fn allows(&self, host: &str) -> bool {
        let name = name_of(host).to_ascii_lowercase();
        let address = name.parse::<IpAddr>().ok();
        self.names.contains(&name)
            || address.is_some_and(|address| {
                self.any_address || address.is_loopback() || self.names.contains(&address.to_string())
            })
    }
}

/// Takes the port and the brackets of a version 6 address off.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Checks Host on all routes and Origin on those that change something.
pub(super) async fn address(State(app): State<App>, request: Request, next: Next) -> Answer<Response> {
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => text(request.headers(), &header::HOST).unwrap_or_default(),
    };
    if !app.hosts.allows(host) {
        let host: String = host.chars().take(200).collect();
        let detail = format!(
            "this coordinator is not `{host}`: start it with `--public-url https://{host}` if that is its name"
        );
        return Err(Refusal::new(Code::Forbidden, detail));
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if let (true, Some(origin)) = (changes, request.headers().get(header::ORIGIN)) {
        let same = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host) == Some(host);
        if !same {
            return Err(Refusal::new(Code::Forbidden, "pages of other origins may not change anything here"));
        }
    }
    Ok(next.run(request).await)
}

/// Checks that the request's token opens the route.
pub(super) async fn gate(
    State((app, scope)): State<(App, Scope)>,
    mut request: Request,
    next: Next,
) -> Answer<Response> {
    let identity =
        app.keys.check(scope, bearer(request.headers())).map_err(|problem| struck(&app, &request, problem))?;
    request.extensions_mut().insert(identity);
    Ok(next.run(request).await)
}

/// Counts a wrong token against its address.
fn struck(app: &App, request: &Request, problem: Problem) -> Problem {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if problem.code != Code::Unauthorized || peer.is_none_or(|ConnectInfo(peer)| app.strikes.note(peer.ip())) {
        return problem;
    }
    let detail = "too many requests with a wrong token came from this address: try again in a minute, with a right one";
    Problem { status: StatusCode::TOO_MANY_REQUESTS.as_u16(), ..Problem::new(Code::Unavailable, detail) }
}

/// The grant whose token opened the route.
pub(super) struct Grant(pub(super) GrantName);

impl<S: Send + Sync> FromRequestParts<S> for Grant {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match parts.extensions.get::<Identity>() {
            Some(Identity::Attempt(grant)) => Ok(Self(*grant)),
            _ => Err(Problem::new(Code::Forbidden, "this needs the token of a grant").into()),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_taken() {
        let near = Hosts::new("127.0.0.1:4750".parse().expect("an address"), None);
        for host in ["127.0.0.1:4750", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:4750", "127.9.9.9"] {
            assert!(near.allows(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example:4750", "192.168.1.5:4750", "127.0.0.1.evil.example", "[::2]"]
        {
            assert!(!near.allows(host), "{host}");
        }
        let bound = Hosts::new("192.168.1.5:4750".parse().expect("an address"), Some("Mill.Example".to_owned()));
        assert!(bound.allows("192.168.1.5:4750") && bound.allows("mill.example:443") && !bound.allows("192.168.1.6"));
        let wide = Hosts::new("0.0.0.0:4750".parse().expect("an address"), None);
        assert!(wide.allows("10.1.2.3:4750") && wide.allows("[fe80::1]:4750") && !wide.allows("evil.example"));
    }
}
