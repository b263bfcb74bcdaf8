//! The names that the daemon answers to.
//!
//! A page can point a name of its own at 127.0.0.1 (DNS rebinding), and the browser then takes the daemon for the page's own server. What
//! such a page can't do is to change the `Host` that its browser sends.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{Version, header};

use super::headers::only;
use crate::config::Listen;
use crate::error::ApiError;

/// The names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Besides those of this machine; in lower case, IPv6 addresses in brackets.
    names: Vec<String>,
}

impl Hosts {
    /// Those of this machine, those listened on, and those configured.
    pub fn new(listen: &[Listen], configured: &[String]) -> Self {
        let listened = listen.iter().filter_map(|listen| match listen {
            Listen::Tcp(address) => name_of(address).filter(|name| !is_every(name)),
            Listen::Unix(_) => None,
        });
        let names = listened.chain(configured.iter().map(String::as_str)).map(str::to_ascii_lowercase).collect();
        Self { names }
    }

    /// Whether a request to this host, with or without a port, is for this daemon.
    pub fn answers_to(&self, host: &str) -> bool {
        name_of(host).is_some_and(|name| is_loopback(name) || self.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// The request's host; `None` where HTTP/1.0 needs none, which no browser speaks.
    ///
    /// # Errors
    /// There is none, or it is another one's.
    pub fn check<'a>(&self, request: &'a Request) -> Result<Option<&'a str>, ApiError> {
        let host = only(request.headers(), &header::HOST)?;
        // A proxy is asked with a whole address, which goes before the header.
        let asked = request.uri().authority().map(|authority| authority.as_str());
        if host.is_none() && asked.is_none() && request.version() >= Version::HTTP_11 {
            return Err(ApiError::invalid(None, "there is no host header"));
        }
        match [asked, host].into_iter().flatten().find(|host| !self.answers_to(host)) {
            Some(host) => Err(ApiError::foreign_host(host)),
            None => Ok(asked.or(host)),
        }
    }
}

/// The host without its port; `None` where it can't be one.
pub(super) fn name_of(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    (is_port && !name.is_empty()).then_some(name)
}

/// Whether this name means this machine wherever it is said.
pub(super) fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || ipv6(name).is_some_and(|address| address.is_loopback())
}

/// Whether this stands for every address of this machine.
fn is_every(name: &str) -> bool {
    name.parse().is_ok_and(|address: Ipv4Addr| address.is_unspecified()) || ipv6(name).is_some_and(|address| address.is_unspecified())
}

fn ipv6(name: &str) -> Option<Ipv6Addr> {
    name.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts() -> Hosts {
        let listen = [Listen::Tcp("192.0.2.7:8000".into()), Listen::Tcp("0.0.0.0:80".into()), Listen::Tcp("[::]:80".into())];
        Hosts::new(&listen, &["Vault.local".into()])
    }

    #[test]
    fn this_machine_what_is_listened_on_and_what_is_configured_is_answered_to() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1",
            "127.9.8.7:1",
            "[::1]",
            "[::1]:8000",
            "192.0.2.7:8000",
            "192.0.2.7",
            "vault.local",
            "VAULT.LOCAL:443",
            "localhost:",
        ] {
            assert!(hosts().answers_to(host), "{host}");
        }
    }

    #[test]
    fn every_other_name_is_refused() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.1",
            "127.0.0.1:80:80",
            "0.0.0.0",
            "[::]",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "::1",
            "user@localhost",
            "localhost@evil.example",
            "localhost/..",
            "192.0.2.8",
            "localhost.",
            " localhost",
            "localhost ",
            "x.vault.local",
            "2130706433",
            "0x7f.0.0.1",
            ":8000",
        ] {
            assert!(!hosts().answers_to(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn what_is_answered_to_is_a_known_name_and_a_port(host in "[a-zA-Z0-9:.@\\[\\]/ -]{0,24}") {
            if hosts().answers_to(&host) {
                let (name, port) = host.rsplit_once(':').filter(|(name, _)| !name.starts_with('[') || name.ends_with(']')).unwrap_or((&host, ""));
                prop_assert!(port.bytes().all(|byte| byte.is_ascii_digit()));
                let name = name.to_ascii_lowercase();
                let is_known = ["localhost", "192.0.2.7", "vault.local"].contains(&name.as_str())
                    || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
                    || name.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
                prop_assert!(is_known, "{host:?}");
            }
        }

        #[test]
        fn a_name_with_anything_around_it_is_another_name(before in "[a-z0-9.-]{0,6}", name in "localhost|127\\.0\\.0\\.1|\\[::1\\]|vault\\.local", after in "[a-z.-]{0,6}") {
            prop_assume!(!(before.is_empty() && after.is_empty()));
            let host = format!("{before}{name}{after}");
            // More digits before it make another address of the same net.
            prop_assume!(!host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()));
            prop_assert!(!hosts().answers_to(&host), "{host:?}");
        }
    }
}
