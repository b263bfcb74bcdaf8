//! What is typed while an answer is written: kept for the next prompt, and not shown in the middle of the answer.

#[cfg(unix)]
pub use unix::{Muted, restore};
#[cfg(windows)]
pub use windows::{Muted, restore};

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::{Mutex, Once, PoisonError};

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr};
    use tokio::signal::unix::{SignalKind, signal};

    /// As the terminal was, while it shows nothing of what is typed.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
    static GUARDED: Once = Once::new();

    /// The terminal shows nothing of what is typed until this is dropped.
    pub struct Muted(());

    impl Muted {
        /// Needs the runtime's context. Does nothing where stdin and stdout aren't both the terminal.
        pub fn new() -> Self {
            let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
            if before.is_none()
                && is_ours()
                && let Ok(modes) = tcgetattr(io::stdin())
            {
                restore_at_signals();
                let mut muted = modes.clone();
                muted.local_modes.remove(LocalModes::ECHO);
                // Where that fails, what is typed is seen as it always was.
                if tcsetattr(io::stdin(), OptionalActions::Now, &muted).is_ok() {
                    *before = Some(modes);
                }
            }
            Self(())
        }
    }

    impl Drop for Muted {
        fn drop(&mut self) {
            restore();
        }
    }

    /// Gives the terminal its echo back, where it has none; for an end that drops nothing.
    pub fn restore() {
        if let Some(modes) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A terminal that is gone takes nothing back.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
        }
    }

    /// In the background a program that changes the terminal is stopped.
    fn is_ours() -> bool {
        isatty(io::stdin()) && isatty(io::stdout()) && tcgetpgrp(io::stdin()).map_or(true, |group| group == getpgrp())
    }

    /// From the first time on, what ends the process gives the echo back first.
    fn restore_at_signals() {
        GUARDED.call_once(|| {
            for kind in [SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
                let Ok(mut ended) = signal(kind) else { continue };
                tokio::spawn(async move {
                    ended.recv().await;
                    restore();
                    std::process::exit(128 + kind.as_raw_value());
                });
            }
        });
    }
}

#[cfg(windows)]
mod windows {
    /// The console shows what is typed only when it is read.
    pub struct Muted(());

    impl Muted {
        /// Nothing is to be done there.
        pub fn new() -> Self {
            Self(())
        }
    }

    /// Nothing is to be done there.
    pub fn restore() {}
}
