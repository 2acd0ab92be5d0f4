//! How a coordinator is started: its flags and what they mean together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use gristmill_common::{limits, quantity};

use crate::store::StoreLimits;

/// Where a coordinator listens unless it is told otherwise.
pub const DEFAULT_PORT: u16 = 4750;

/// What a coordinator is started with.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// Journal, secrets and store.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 for any that is free.
    pub listen: SocketAddr,
    /// Directories from which inputs may be read and into which outputs may be written.
    pub roots: Vec<PathBuf>,
    /// How long a worker may be silent before its attempts are granted again, in milliseconds.
    pub lease_ms: u64,
    /// How long a job that ended without a result keeps what it has, in milliseconds.
    pub retain_failed_ms: u64,
    /// What the store may hold.
    pub store: StoreLimits,
    /// The URL under which others reach it, when that is not its address.
    pub public_url: Option<String>,
    /// The operator's certificate chain and key, both PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether something in front of it speaks TLS, so that it may speak plain HTTP beyond loopback.
    pub tls_terminated_in_front: bool,
    /// Whether jobs outlive the process.
    pub journal: JournalKind,
    /// Whether to leave the address and client token where the user's command line finds them.
    pub announce: bool,
}

/// Where entries are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum JournalKind {
    /// In the data directory.
    #[default]
    Sqlite,
    /// In memory, for jobs that end with their process.
    Memory,
}

/// Why flags do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A certificate is of no use to a coordinator that speaks plain HTTP.
    #[error("--tls-cert and --tls-terminated-in-front exclude each other: who speaks TLS?")]
    TlsTwice,
    /// The public URL is not one.
    #[error("--public-url `{url}`: {why}")]
    PublicUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A lease that no worker could keep.
    #[error("--lease-ms {0} is not allowed: 1000 to 3600000 is")]
    Lease(u64),
}

impl CoordinatorConfig {
    /// Makes the configuration of a coordinator that listens on loopback and keeps everything in this directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            roots: Vec::new(),
            lease_ms: limits::LEASE_MS,
            retain_failed_ms: limits::RETAIN_FAILED_MS,
            store: StoreLimits::default(),
            public_url: None,
            certificate: None,
            tls_terminated_in_front: false,
            journal: JournalKind::Sqlite,
            announce: false,
        }
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.certificate.is_some() && self.tls_terminated_in_front {
            return Err(ConfigError::TlsTwice);
        }
        if !(1_000..=3_600_000).contains(&self.lease_ms) {
            return Err(ConfigError::Lease(self.lease_ms));
        }
        self.public_host().map(drop)
    }

    /// Returns the host of the public URL.
    ///
    /// # Errors
    /// [`ConfigError::PublicUrl`].
    pub fn public_host(&self) -> Result<Option<String>, ConfigError> {
        let Some(url) = &self.public_url else { return Ok(None) };
        let bad = |why| ConfigError::PublicUrl { url: url.clone(), why };
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| bad("write it as https://HOST or https://HOST:PORT"))?;
        if !matches!(scheme, "http" | "https") {
            return Err(bad("only http:// and https:// are spoken"));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '@', '?', '#']) || authority.contains(char::is_whitespace) {
            return Err(bad("it must be a host and perhaps a port, nothing else"));
        }
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        Ok(Some(host.to_owned()))
    }

    /// Says whether the listener itself speaks TLS: beyond loopback always, unless something in front of it does.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.certificate.is_some() || (!self.listen.ip().is_loopback() && !self.tls_terminated_in_front)
    }
}

/// The flags of `gristmill coordinator`.
#[derive(Clone, Debug, clap::Args)]
pub struct CoordinatorArgs {
    /// Directory for journal, tokens and store
    #[arg(long, env = "GRISTMILL_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on; beyond loopback this speaks TLS and prints a line with which workers join
    #[arg(long, value_name = "ADDRESS[:PORT]", default_value = "127.0.0.1", value_parser = listen)]
    pub listen: SocketAddr,
    /// Port to listen on, 0 for any that is free
    #[arg(long)]
    pub port: Option<u16>,
    /// Directory from which file:/// inputs may be read and into which outputs may be written; can be repeated
    #[arg(long = "allow-path", value_name = "DIR")]
    pub allow_paths: Vec<PathBuf>,
    /// Milliseconds a worker may be silent before its attempts are granted again
    #[arg(long, value_name = "MS", default_value_t = limits::LEASE_MS)]
    pub lease_ms: u64,
    /// How long a job that failed or was cancelled keeps what it has, so that it can be retried
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = quantity::milliseconds)]
    pub retain_failed: u64,
    /// Size of the map outputs and parts that one job may keep here, such as 64G
    #[arg(long, value_name = "BYTES", default_value_t = limits::RELAY_QUOTA_BYTES, value_parser = quantity::bytes)]
    pub relay_quota: u64,
    /// Free bytes of the data directory's disk below which no jobs, uploads or relays are taken
    #[arg(long, value_name = "BYTES", default_value_t = limits::STORE_RESERVE_BYTES, value_parser = quantity::bytes)]
    pub disk_reserve: u64,
    /// URL under which others reach this coordinator, such as https://mill.example
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Certificate chain (PEM); a self-signed one is made when it is needed and none is given
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Speak plain HTTP beyond loopback, because a proxy in front speaks TLS
    #[arg(long)]
    pub tls_terminated_in_front: bool,
}

impl CoordinatorArgs {
    /// Turns flags into a checked configuration of a coordinator that announces itself.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn config(self, default_data_dir: PathBuf) -> Result<CoordinatorConfig, ConfigError> {
        let mut listen = self.listen;
        listen.set_port(self.port.unwrap_or(listen.port()));
        let config = CoordinatorConfig {
            listen,
            roots: self.allow_paths,
            lease_ms: self.lease_ms,
            retain_failed_ms: self.retain_failed,
            store: StoreLimits { quota_bytes: self.relay_quota, reserve_bytes: self.disk_reserve, is_durable: true },
            public_url: self.public_url.map(|url| url.trim_end_matches('/').to_owned()),
            certificate: self.tls_cert.zip(self.tls_key),
            tls_terminated_in_front: self.tls_terminated_in_front,
            announce: true,
            ..CoordinatorConfig::new(self.data_dir.unwrap_or(default_data_dir))
        };
        config.check()?;
        Ok(config)
    }
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let ip: Result<IpAddr, _> = if text == "localhost" { Ok(Ipv4Addr::LOCALHOST.into()) } else { text.parse() };
    ip.map(|ip| SocketAddr::from((ip, DEFAULT_PORT))).map_err(|_| {
        format!("`{text}` is not an address: write 127.0.0.1, 0.0.0.0:{DEFAULT_PORT} or [::]:{DEFAULT_PORT}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(listen("0.0.0.0").map(|address| address.to_string()), Ok("0.0.0.0:4750".to_owned()));
        assert_eq!(listen("[::1]:80").map(|address| address.to_string()), Ok("[::1]:80".to_owned()));
        assert_eq!(listen("localhost").map(|address| address.to_string()), Ok("127.0.0.1:4750".to_owned()));
        assert!(listen("mill").is_err());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let base = CoordinatorConfig::new("/d");
        assert_eq!(base.check(), Ok(()));
        let wide = CoordinatorConfig { listen: "0.0.0.0:1".parse().expect("an address"), ..base.clone() };
        assert!(wide.speaks_tls() && !base.speaks_tls());
        let front = CoordinatorConfig { tls_terminated_in_front: true, ..wide };
        assert!(!front.speaks_tls());
        let twice = CoordinatorConfig { certificate: Some(("c".into(), "k".into())), ..front };
        assert_eq!(twice.check(), Err(ConfigError::TlsTwice));
        assert_eq!(CoordinatorConfig { lease_ms: 1, ..base.clone() }.check(), Err(ConfigError::Lease(1)));
        for url in ["mill", "ftp://mill", "https://", "https://mill/path", "https://u@mill", "https://mill?x"] {
            let config = CoordinatorConfig { public_url: Some(url.to_owned()), ..base.clone() };
            assert!(matches!(config.check(), Err(ConfigError::PublicUrl { .. })), "{url}");
        }
        let host = |url: &str| CoordinatorConfig { public_url: Some(url.to_owned()), ..base.clone() }.public_host();
        assert_eq!(host("https://mill.example:443"), Ok(Some("mill.example".to_owned())));
        assert_eq!(host("https://[fe80::1]:443"), Ok(Some("fe80::1".to_owned())));
    }
}
