//! Where connections come from: TCP or a Unix socket, of our own or inherited from whoever started the daemon.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::connection::{Arrival, Raw};
use super::tls::Tls;
use crate::config::Listen;

/// A socket that is listened on.
pub struct Listener {
    socket: Socket,
    /// What connections over TCP are wrapped in.
    tls: Option<Tls>,
}

enum Socket {
    Tcp(TcpListener),
    /// Its file goes when this is dropped; an inherited one is another's.
    #[allow(dead_code)] // The file is kept for its end alone.
    Unix(UnixListener, PathBuf, Option<SocketFile>),
}

/// A socket's file, removed at the end.
struct SocketFile(PathBuf);

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
        let socket = match listen {
            Listen::Tcp(address) => Socket::Tcp(TcpListener::bind(address.as_str()).await.map_err(|error| named(error, address))?),
            Listen::Unix(path) => {
                remove_stale(path).await;
                let listener = UnixListener::bind(path).map_err(|error| named(error, &path.display()))?;
                Socket::Unix(listener, path.clone(), Some(SocketFile(path.clone())))
            }
        };
        Ok(Self { socket, tls: None })
    }

    /// Those that systemd, or whoever else started the daemon, listens on for it (`LISTEN_FDS`); none in the usual case.
    ///
    /// # Errors
    /// One is of another kind.
    pub fn inherited(sockets: &mut ListenFd) -> io::Result<Vec<Self>> {
        let mut listeners = Vec::with_capacity(sockets.len());
        for index in 0..sockets.len() {
            let socket = match sockets.take_tcp_listener(index) {
                Ok(Some(listener)) => {
                    listener.set_nonblocking(true)?;
                    Socket::Tcp(TcpListener::from_std(listener)?)
                }
                Ok(None) => continue,
                Err(_) => {
                    let unusable =
                        |error| io::Error::other(format!("socket {index} of LISTEN_FDS is neither TCP nor a Unix stream: {error}"));
                    let Some(listener) = sockets.take_unix_listener(index).map_err(unusable)? else { continue };
                    listener.set_nonblocking(true)?;
                    let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
                    Socket::Unix(UnixListener::from_std(listener)?, path, None)
                }
            };
            listeners.push(Self { socket, tls: None });
        }
        Ok(listeners)
    }

    /// The same one with TLS, if it is on TCP.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Where it listens: what was told, with the port that the system chose.
    pub fn address(&self) -> Listen {
        match &self.socket {
            Socket::Tcp(listener) => Listen::Tcp(listener.local_addr().map(|address| address.to_string()).unwrap_or_default()),
            Socket::Unix(_, path, _) => Listen::Unix(path.clone()),
        }
    }

    /// Whether other machines can reach it. A host's name may stand for any address, so it is what came of it that counts.
    pub fn is_remote(&self) -> bool {
        match &self.socket {
            Socket::Tcp(listener) => !listener.local_addr().is_ok_and(|address| address.ip().is_loopback()),
            Socket::Unix(..) => false,
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// The operating system's; the next call may succeed.
    pub async fn accept(&self) -> io::Result<Arrival> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Each piece of text goes out at once.
                stream.set_nodelay(true)?;
                Ok(Arrival { raw: Raw::Tcp(stream), tls: self.tls.clone() })
            }
            Socket::Unix(listener, ..) => Ok(Arrival { raw: Raw::Unix(listener.accept().await?.0), tls: None }),
        }
    }
}

impl fmt::Display for Listener {
    /// The address as a client would write it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match self.address() {
            Listen::Tcp(address) => write!(formatter, "{scheme}://{address}"),
            unix => unix.fmt(formatter),
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
