//! The certificate of a listener that is reached from other machines.
//!
//! Without one from the operator, a self-signed one is made. Whoever connects pins its hash, so names and dates in it decide
//! nothing.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill_common::Digest;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::private::write_private;

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable {what}: {error}")]
    Unusable {
        /// The file.
        path: String,
        /// Certificate or key.
        what: &'static str,
        /// What is wrong with it.
        error: String,
    },
}

/// What a server needs to speak TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Configuration for the listener.
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, to be pinned by clients.
    pub pin: Digest,
}

impl Tls {
    /// Loads the operator's certificate chain and key, both PEM.
    ///
    /// # Errors
    /// When a file is missing or cannot be used.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = |path: &Path| fs::read(path).map_err(|error| io_error(path, error));
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem(certificate)?).collect();
        let chain = chain.map_err(|error| unusable(certificate, "certificate", error.to_string()))?;
        let first = chain.first().ok_or_else(|| unusable(certificate, "certificate", "it has none".to_owned()))?;
        let pin = Digest::of(first);
        let private = PrivateKeyDer::from_pem_slice(&pem(key)?);
        let private = private.map_err(|error| unusable(key, "private key", error.to_string()))?;
        Self::of(pin, chain, private, certificate)
    }

    /// Makes a self-signed certificate for these names that lives as long as this process.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn passing(names: Vec<String>) -> Result<Self, TlsError> {
        let nowhere = Path::new("a new certificate");
        let made = rcgen::generate_simple_self_signed(names);
        let made = made.map_err(|error| unusable(nowhere, "certificate", error.to_string()))?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        Self::of(Digest::of(made.cert.der()), vec![made.cert.der().clone()], key, nowhere)
    }

    fn of(
        pin: Digest,
        chain: Vec<CertificateDer<'static>>,
        private: PrivateKeyDer<'static>,
        certificate: &Path,
    ) -> Result<Self, TlsError> {
        install_provider();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private);
        let mut config = config.map_err(|error| unusable(certificate, "certificate", error.to_string()))?;
        // A stalled HTTP/2 connection would be reused for ever.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), pin })
    }

    /// Loads the self-signed certificate of a directory, made at the first use for these names.
    ///
    /// # Errors
    /// When its files cannot be read or written.
    pub fn self_signed(directory: &Path, names: Vec<String>) -> Result<Self, TlsError> {
        let (certificate, key): (PathBuf, PathBuf) = (directory.join("tls.cert.pem"), directory.join("tls.key.pem"));
        if !certificate.exists() || !key.exists() {
            let made = rcgen::generate_simple_self_signed(names);
            let made = made.map_err(|error| unusable(&certificate, "certificate", error.to_string()))?;
            // The key first: a certificate without its key would be taken for a whole pair.
            let write =
                |path: &Path, text: String| write_private(path, text.as_bytes()).map_err(|error| io_error(path, error));
            write(&key, made.signing_key.serialize_pem())?;
            write(&certificate, made.cert.pem())?;
        }
        Self::load(&certificate, &key)
    }
}

/// Makes rustls use ring, if nobody chose before. Without it the first handshake panics.
pub fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns the name of this machine and the address by which others most likely reach it.
#[must_use]
pub fn own_names() -> (String, Option<IpAddr>) {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // Nothing is sent: connecting a datagram socket only looks up the route, here to an address set aside for examples.
    let route = || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    (name, route().filter(|address| !address.is_loopback() && !address.is_unspecified()))
}

fn unusable(path: &Path, what: &'static str, error: String) -> TlsError {
    TlsError::Unusable { path: path.display().to_string(), what, error }
}

fn io_error(path: &Path, error: io::Error) -> TlsError {
    TlsError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_kept_and_its_hash_is_of_what_is_sent() {
        let home = tempfile::tempdir().expect("a directory");
        let first = Tls::self_signed(home.path(), vec!["mill".to_owned()]).expect("made");
        let again = Tls::self_signed(home.path(), vec!["other".to_owned()]).expect("kept");
        assert_eq!(first.pin, again.pin);
        let pem = fs::read(home.path().join("tls.cert.pem")).expect("is there");
        let der = CertificateDer::from_pem_slice(&pem).expect("a certificate");
        assert_eq!(first.pin, Digest::of(&der));
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let home = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (home.path().join("c.pem"), home.path().join("k.pem"));
        let missing = Tls::load(&certificate, &key).expect_err("missing").to_string();
        fs::write(&certificate, "nothing").expect("writes");
        let empty = Tls::load(&certificate, &key).expect_err("empty").to_string();
        assert!(missing.contains("c.pem") && empty.contains("c.pem"), "{missing}; {empty}");
    }
}
