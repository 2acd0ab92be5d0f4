//! Where a coordinator is and how to talk to it: `https://HOST:4750#<sha256 of its certificate>.<token>`.
//!
//! The part after `#` is never sent anywhere: it carries the certificate to insist on and the token. Both may be absent.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use gristmill_common::Digest;
use url::{Host, Url};

/// Port of a coordinator that was given none.
pub const DEFAULT_PORT: u16 = 4750;

/// A coordinator's address, the token to show it and the certificate to expect.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    /// The bearer token.
    pub token: Option<String>,
    /// SHA-256 of the DER of the only certificate that is accepted; the system's roots decide when absent.
    pub pin: Option<Digest>,
    plain_allowed: bool,
}

/// Says why a text is no endpoint or why it is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The text is not an address of a coordinator.
    #[error(
        "`{text}` is not a coordinator's address: {why}; write https://HOST:4750#HASH.TOKEN or http://127.0.0.1:4750"
    )]
    Malformed {
        /// The text, without what follows `#`.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A token would travel in clear text.
    #[error(
        "refusing to send a token to {url} over plain http: anyone on the way could read it; \
         use the https:// join line that the coordinator printed, or a tunnel to 127.0.0.1"
    )]
    PlainHttp {
        /// The address.
        url: String,
    },
}

impl Endpoint {
    /// Makes an endpoint without token and pin.
    ///
    /// # Errors
    /// [`EndpointError::Malformed`].
    pub fn new(url: &str) -> Result<Self, EndpointError> {
        url.split('#').next().unwrap_or_default().parse()
    }

    /// Makes the endpoint of a coordinator on this machine.
    #[must_use]
    pub fn local(port: u16, token: Option<String>) -> Self {
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).expect("a constant shape");
        Self { url, token, pin: None, plain_allowed: false }
    }

    /// Returns it with this token.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// Returns it with this certificate pinned.
    #[must_use]
    pub fn with_pin(self, pin: Option<Digest>) -> Self {
        Self { pin, ..self }
    }

    /// Allows the token to travel over plain HTTP to another machine, because a person asked for it.
    #[must_use]
    pub fn allow_plain_http(self) -> Self {
        Self { plain_allowed: true, ..self }
    }

    /// Says whether [`Self::allow_plain_http`] was called.
    #[must_use]
    pub fn allows_plain_http(&self) -> bool {
        self.plain_allowed
    }

    /// Returns the address, without token and pin.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the address as people write it: no slash at its end, no token.
    #[must_use]
    pub fn address(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// Returns the port that is connected to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(DEFAULT_PORT)
    }

    /// Says whether the address is of this machine, whatever it resolves to elsewhere.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
            None => false,
        }
    }

    /// Returns the URL of a path on this coordinator; each segment is percent-encoded.
    pub(crate) fn route<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Checks that a token may travel to here.
    ///
    /// # Errors
    /// [`EndpointError::PlainHttp`].
    pub(crate) fn check_bearer(&self) -> Result<(), EndpointError> {
        if self.url.scheme() == "https" || self.is_loopback() || self.plain_allowed {
            return Ok(());
        }
        Err(EndpointError::PlainHttp { url: self.address() })
    }

    /// Returns the line that another machine can be given; contains the token.
    #[must_use]
    pub fn join_line(&self) -> String {
        match (&self.pin, &self.token) {
            (None, None) => self.address(),
            (Some(pin), None) => format!("{}#{pin}.", self.address()),
            (None, Some(token)) => format!("{}#.{token}", self.address()),
            (Some(pin), Some(token)) => format!("{}#{pin}.{token}", self.address()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, secret) = text.trim().split_once('#').unwrap_or((text.trim(), ""));
        // The token never appears in the message: it may end up in a log.
        let bad =
            |why: &str| EndpointError::Malformed { text: address.chars().take(200).collect(), why: why.to_owned() };
        let url = Url::parse(address).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("only http:// and https:// are spoken"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it has no host"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(bad("user names, passwords and queries are not understood"));
        }
        // Without a dot it is a token, or on https the hash alone, as `--url https://HOST#HASH` has it.
        let alone =
            if url.scheme() == "https" && secret.parse::<Digest>().is_ok() { (secret, "") } else { ("", secret) };
        let (pin, token) = secret.split_once('.').unwrap_or(alone);
        let pin = match pin {
            "" => None,
            hash => Some(hash.parse().map_err(|_| bad("what stands between `#` and `.` is not 64 hex digits"))?),
        };
        if pin.is_some() && url.scheme() == "http" {
            return Err(bad("it pins a certificate, which only https:// has"));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("its token has characters that no token has"));
        }
        let token = (!token.is_empty()).then(|| token.to_owned());
        Ok(Self { url, token, pin, plain_allowed: false })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_some() { "a token" } else { "no token" };
        write!(f, "Endpoint({}, {token}, pin {:?})", self.address(), self.pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_alone_is_a_pin_on_https_and_a_token_on_http() {
        let hash = "a".repeat(64);
        let pinned: Endpoint = format!("https://mill:4750#{hash}").parse().expect("valid");
        assert_eq!((pinned.pin.map(|pin| pin.to_string()), pinned.token), (Some(hash.clone()), None));
        let plain: Endpoint = format!("http://127.0.0.1:4750#{hash}").parse().expect("valid");
        assert_eq!((plain.pin, plain.token), (None, Some(hash)));
    }

    #[test]
    fn join_lines_read_back() {
        let hash = Digest::of(b"certificate").to_string();
        let lines = [
            format!("https://mill.example:4750#{hash}.gmw-abc"),
            format!("https://[2001:db8::1]:4750#{hash}."),
            "http://127.0.0.1:4750#.abc".to_owned(),
            "https://mill.example".to_owned(),
        ];
        for line in lines {
            assert_eq!(line.parse::<Endpoint>().expect(&line).join_line(), line);
        }
        let bare: Endpoint = "http://127.0.0.1:4750/#abc".parse().expect("a token alone");
        assert_eq!((bare.token.as_deref(), bare.port()), (Some("abc"), 4750));
    }

    #[test]
    fn texts_that_are_no_endpoint_are_refused_without_showing_the_token() {
        for text in [
            "",
            "mill:4750",
            "ftp://mill#.secret",
            "https://user@mill#.secret",
            "https://mill?x=1#.secret",
            "https://mill#12.secret",
            "http://127.0.0.1:1#0000000000000000000000000000000000000000000000000000000000000000.secret",
            "https://mill#.secret token",
        ] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let endpoint: Endpoint = "https://mill#.secret".parse().expect("valid");
        assert!(!format!("{endpoint} {endpoint:?}").contains("secret"));
    }

    #[test]
    fn a_token_travels_in_clear_text_only_to_this_machine_or_when_asked_for() {
        for near in
            ["http://127.0.0.1:1", "http://127.8.8.8:1", "http://[::1]:1", "http://localhost:1", "https://far:1"]
        {
            assert_eq!(near.parse::<Endpoint>().expect(near).check_bearer(), Ok(()), "{near}");
        }
        for far in ["http://10.0.0.1:1", "http://localhost.example:1", "http://127.0.0.1.example:1"] {
            let far: Endpoint = far.parse().expect(far);
            assert!(matches!(far.check_bearer(), Err(EndpointError::PlainHttp { .. })), "{far}");
            assert_eq!(far.allow_plain_http().check_bearer(), Ok(()));
        }
    }

    #[test]
    fn segments_cannot_leave_their_place() {
        let endpoint = Endpoint::local(1, None);
        let url = endpoint.route(["v1", "jobs", "a/b?c#d"]);
        assert_eq!(url.as_str(), "http://127.0.0.1:1/v1/jobs/a%2Fb%3Fc%23d");
    }
}
