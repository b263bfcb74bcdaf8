//! Ctrl-C.

use crate::failure::Failure;

#[cfg(unix)]
type Signal = tokio::signal::unix::Signal;
#[cfg(windows)]
type Signal = tokio::signal::windows::CtrlC;

/// Notices each Ctrl-C from its creation on.
pub struct Interrupts {
    signal: Signal,
}

impl Interrupts {
    /// Needs the runtime's context. From here on Ctrl-C no longer ends the process by itself.
    pub fn listen() -> Result<Self, Failure> {
        #[cfg(unix)]
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
        #[cfg(windows)]
        let signal = tokio::signal::windows::ctrl_c();
        match signal {
            Ok(signal) => Ok(Self { signal }),
            Err(error) => Err(Failure::Failed(format!("Ctrl-C cannot be listened for: {error}"))),
        }
    }

    /// Waits for the next Ctrl-C.
    pub async fn next(&mut self) {
        self.signal.recv().await;
    }
}
