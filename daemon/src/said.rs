//! Lines for whoever started the daemon. It goes on where nobody reads them: the terminal may have been closed, or a pipe's other end.

/// A line on standard error.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($line)*);
    }};
}
