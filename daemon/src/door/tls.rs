//! TLS on rustls: a certificate and its key, read once at start.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{Accept, TlsAcceptor};

use super::connection::Connection;
use crate::config::TlsFiles;

/// What makes a connection one over TLS. Clones share it.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// With the certificates of a file, the server's own first, and the key of another, both PEM.
    ///
    /// # Errors
    /// A file can't be read or holds something else, or the key isn't the certificate's.
    pub fn new(TlsFiles { cert, key }: &TlsFiles) -> io::Result<Self> {
        let certificates: Vec<_> = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(|error| wrong("server.tls.cert", cert, &error))?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("server.tls.key", key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, private));
        let mut config = config.map_err(|error| wrong("server.tls.cert", cert, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) fn accept(&self, stream: Connection) -> Accept<Connection> {
        self.0.accept(stream)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls")
    }
}

fn wrong(key: &str, path: &Path, error: &dyn fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{key}: {} can't be used: {error}", path.display()))
}
