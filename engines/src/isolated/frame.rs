//! Frames: eight bytes of length, then so many of a message.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::wire::{Bytes, Malformed, Wire};

/// A message with its length in front.
pub(super) fn framed(message: &impl Wire) -> Vec<u8> {
    let mut frame = vec![0; size_of::<u64>()];
    message.put(&mut frame);
    let length = frame.len() - size_of::<u64>();
    frame[..size_of::<u64>()].copy_from_slice(&(length as u64).to_le_bytes());
    frame
}

/// Waits for the next message. `frame` is memory to be used again.
///
/// # Errors
/// `InvalidData` for bytes that are no message; anything else says that the other end is gone.
pub(super) async fn read<T: Wire>(socket: &mut (impl AsyncRead + Unpin), frame: &mut Vec<u8>) -> io::Result<T> {
    let length = socket.read_u64_le().await?;
    frame.clear();
    // It grows with what arrives, whatever length was told.
    socket.take(length).read_to_end(frame).await?;
    if frame.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = Bytes::new(frame);
    match T::take(&mut bytes) {
        Ok(message) if bytes.is_empty() => Ok(message),
        Ok(_) | Err(Malformed) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes are no message"))),
    }
}
