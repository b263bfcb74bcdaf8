//! TLS on rustls: a certificate and its key, read at start, and again when the configuration is.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{Accept, TlsAcceptor};

use super::connection::Connection;
use crate::config::TlsFiles;

/// What makes a connection one over TLS. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    acceptor: RwLock<TlsAcceptor>,
}

impl Tls {
    /// With the certificates of a file, the server's own first, and the key of another, both PEM.
    ///
    /// # Errors
    /// A file can't be read or holds something else, or the key isn't the certificate's.
    pub fn new(files: &TlsFiles) -> io::Result<Self> {
        Ok(Self(Arc::new(Shared { files: files.clone(), acceptor: RwLock::new(read(files)?) })))
    }

    /// Reads the files again, for connections that come from now on.
    ///
    /// # Errors
    /// As [`Tls::new`]; then what was read before still counts.
    pub fn renew(&self) -> io::Result<()> {
        let renewed = read(&self.0.files)?;
        *self.0.acceptor.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    pub(super) fn accept(&self, stream: Connection) -> Accept<Connection> {
        let acceptor = self.0.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        acceptor.accept(stream)
    }
}

fn read(TlsFiles { cert, key }: &TlsFiles) -> io::Result<TlsAcceptor> {
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
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls")
    }
}

fn wrong(key: &str, path: &Path, error: &dyn fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{key}: {} can't be used: {error}", path.display()))
}
