//! Where connections come from: TCP or a Unix socket.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::config::Listen;

/// A socket that is listened on.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket; its file goes when this is dropped.
    Unix(UnixListener, SocketFile),
}

/// A connection of either kind.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A socket's file, removed at the end.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// The address, and the operating system's reason.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        let named =
            |error: io::Error, address: &dyn fmt::Display| io::Error::new(error.kind(), format!("can't listen on {address}: {error}"));
        match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address.as_str()).await.map_err(|error| named(error, address))?;
                Ok(Self::Tcp(listener))
            }
            Listen::Unix(path) => {
                remove_stale(path).await;
                let listener = UnixListener::bind(path).map_err(|error| named(error, &path.display()))?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    /// Whether other machines can reach it. A host's name may stand for any address, so it is what came of it that counts.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Tcp(listener) => !listener.local_addr().is_ok_and(|address| address.ip().is_loopback()),
            Self::Unix(..) => false,
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// The operating system's; the next call may succeed.
    pub async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Each piece of text goes out at once.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(listener, _) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

impl fmt::Display for Listener {
    /// The address as a client would write it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(formatter, "http://{address}"),
                Err(_) => formatter.write_str("an unknown address"),
            },
            Self::Unix(_, file) => write!(formatter, "unix:{}", file.0.display()),
        }
    }
}

/// Removes a socket file that nobody listens on any more.
async fn remove_stale(path: &Path) {
    if let Err(error) = tokio::net::UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        let _ = std::fs::remove_file(path);
    }
}
