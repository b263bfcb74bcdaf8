//! A connection from its first moment: TLS where it is wanted, and an end to writes that go nowhere.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_io_timeout::TimeoutStream;

use super::tls::Tls;

/// A connection that has been accepted, and nothing else.
pub struct Arrival {
    pub(super) raw: Raw,
    pub(super) tls: Option<Tls>,
}

/// What the operating system knows of it.
pub(super) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection of any kind.
pub trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// A connection that is ready for HTTP.
pub type Connection = Pin<Box<dyn Stream>>;

impl Arrival {
    /// Makes it ready: TLS gets as long as a request's head would, and a write that moves nothing for the other time fails.
    ///
    /// # Errors
    /// The client speaks no TLS, or too slowly.
    pub async fn ready(self, hello: Duration, write: Duration) -> io::Result<Connection> {
        match self.raw {
            Raw::Tcp(stream) => {
                let stream = impatient(stream, write);
                match self.tls {
                    None => Ok(stream),
                    Some(tls) => {
                        let accepted = tokio::time::timeout(hello, tls.accept(stream)).await;
                        Ok(Box::pin(accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??))
                    }
                }
            }
            Raw::Unix(stream) => Ok(impatient(stream, write)),
        }
    }
}

/// A reader that has stopped reading would hold its connection, and what is computed for it, for ever.
fn impatient<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, write: Duration) -> Connection {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write));
    Box::pin(stream)
}
