//! Addresses to listen on.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; the host is a name, an IPv4 address, or an IPv6 address in brackets. Port 0 lets the system choose one.
    Tcp(String),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl Listen {
    /// Reads `host:port` or `unix:path`; a relative path starts from `base`.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with key and value.
    pub(super) fn parse(text: &str, base: &Path) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err("unix: needs the path of a socket".into()) } else { Ok(Self::Unix(base.join(path))) };
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err("it must be host:port, for example 127.0.0.1:8000, or unix:/path/to.sock".into());
        };
        if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
            return Err(format!("the port {port:?} must be a number from 0 to 65535"));
        }
        check_host(host)?;
        Ok(Self::Tcp(text.to_owned()))
    }
}

/// Whether this can be a host.
pub(super) fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("a host must stand before the colon: 127.0.0.1 for this machine only, 0.0.0.0 for every network".into());
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("{address:?} isn't an IPv6 address")),
        };
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err("an IPv6 address stands in brackets, for example [::1]:8000".into());
    }
    if host.contains("//") {
        return Err("it must be host:port without http:// and without a path".into());
    }
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if if numeric { host.parse::<Ipv4Addr>().is_ok() } else { name } {
        Ok(())
    } else {
        Err(format!("{host:?} is neither a host name nor an IP address"))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => formatter.write_str(address),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_in_every_usual_form_are_understood() {
        for text in ["127.0.0.1:8000", "localhost:0", "[::1]:65535", "my-host.example:80", "0.0.0.0:8000"] {
            assert_eq!(Listen::parse(text, Path::new("/base")), Ok(Listen::Tcp(text.to_owned())));
        }
        for (text, path) in [("unix:/run/a.sock", "/run/a.sock"), ("unix:a.sock", "/base/a.sock")] {
            assert_eq!(Listen::parse(text, Path::new("/base")), Ok(Listen::Unix(path.into())));
        }
    }

    #[test]
    fn what_is_no_address_is_explained() {
        let check = |text: &str, expected: &str| {
            let message = Listen::parse(text, Path::new("/base")).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        };
        check("8000", "it must be host:port");
        check(":8000", "a host must stand before the colon");
        check("localhost:", "the port \"\" must be a number from 0 to 65535");
        check("localhost:65536", "the port \"65536\"");
        check("localhost:+80", "the port \"+80\"");
        check("localhost:http", "the port \"http\"");
        check("::1:8000", "in brackets");
        check("[::g]:8000", "\"::g\" isn't an IPv6 address");
        check("http://localhost:8000", "without http://");
        check("300.1.1.1:80", "neither a host name nor an IP address");
        check("a b:80", "neither a host name nor an IP address");
        check("unix:", "needs the path of a socket");
    }
}
