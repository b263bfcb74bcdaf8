//! Ctrl-C, and what else tells a process to end.

use crate::failure::Failure;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
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
        let signal = signal(SignalKind::interrupt());
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

/// Notices whatever tells the process to end, for a command that has something to give back first.
pub struct Endings {
    interrupts: Interrupts,
    #[cfg(unix)]
    others: [(Signal, u8); 2],
}

impl Endings {
    /// Needs the runtime's context. From here on none of them ends the process by itself.
    pub fn listen() -> Result<Self, Failure> {
        #[cfg(unix)]
        let other = |kind: SignalKind| match signal(kind) {
            Ok(signal) => Ok((signal, u8::try_from(kind.as_raw_value()).unwrap_or_default())),
            Err(error) => Err(Failure::Failed(format!("signal {} cannot be listened for: {error}", kind.as_raw_value()))),
        };
        Ok(Self {
            interrupts: Interrupts::listen()?,
            #[cfg(unix)]
            others: [other(SignalKind::terminate())?, other(SignalKind::hangup())?],
        })
    }

    /// Waits for one of them.
    pub async fn next(&mut self) -> Failure {
        #[cfg(unix)]
        {
            let [(terminate, terminated), (hangup, hung_up)] = &mut self.others;
            tokio::select! {
                () = self.interrupts.next() => Failure::Interrupted,
                _ = terminate.recv() => Failure::Ended { signal: *terminated },
                _ = hangup.recv() => Failure::Ended { signal: *hung_up },
            }
        }
        #[cfg(windows)]
        {
            self.interrupts.next().await;
            Failure::Interrupted
        }
    }
}
