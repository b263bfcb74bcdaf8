//! Hosts and origins that nobody would send: who is let in is compared with rules told in another way.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use futures_util::FutureExt;
use minivault_daemon::config::Listen;
use minivault_daemon::door::hosts::Hosts;
use minivault_daemon::door::origins::{Origin, Origins};
use tower::ServiceExt;

use super::input::Input;

const WORDS: [&str; 30] = [
    "localhost",
    "LocalHost",
    "127.0.0.1",
    "127.1",
    "[::1]",
    "[::]",
    "::1",
    "0.0.0.0",
    "192.0.2.7",
    "vault.local",
    "VAULT.local",
    ":8000",
    ":",
    ":x",
    "@",
    "evil.example",
    ".",
    "/",
    "http://",
    "https://",
    "://",
    "null",
    "app.example:8443",
    "app.example",
    "127.0.0.",
    "[",
    "]",
    "%",
    " ",
    "\t",
];
const PAGE: &str = "https://app.example:8443";

/// A host and an origin at a door.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (host, origin) = (input.text(&WORDS), input.text(&WORDS));
    let listen = [Listen::Tcp("192.0.2.7:8000".into()), Listen::Tcp("0.0.0.0:80".into()), Listen::Tcp("[::]:80".into())];
    let hosts = Hosts::new(&listen, &["Vault.local".into()]);
    assert_eq!(hosts.answers_to(&host), is_ours(&host), "the host {host:?}");
    let allowed = ["localhost", PAGE].map(|origin| Origin::parse(origin).expect("an origin"));
    let origins = Origins::new(&allowed);
    assert_eq!(origins.allow(&origin), may_ask(&origin), "the origin {origin:?}");
    // What nobody could configure is told so, whatever it is.
    let _ = Origin::parse(&host);
    let Ok(request) = HeaderValue::from_str(&host).and_then(|host| Ok((host, HeaderValue::from_str(&origin)?))) else { return };
    let status = asked(hosts, origins, request);
    let own = origin.split_once("://").is_some_and(|(_, page)| page.eq_ignore_ascii_case(&host));
    // Nobody can say what a header means that isn't ASCII.
    let expected = host.is_ascii() && origin.is_ascii() && is_ours(&host) && (own || may_ask(&origin));
    assert_eq!(status == StatusCode::OK, expected, "{status} for host {host:?} and origin {origin:?}");
}

/// What both checks say of a request with these headers.
fn asked(hosts: Hosts, origins: Origins, (host, origin): (HeaderValue, HeaderValue)) -> StatusCode {
    let request = Request::get("/").header(header::HOST, host).header(header::ORIGIN, origin).body(Body::empty()).expect("a request");
    let check = axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| {
        let outcome = hosts.check(&request).and_then(|host| origins.check(request.headers(), host));
        async move {
            match outcome {
                Ok(()) => next.run(request).await,
                Err(error) => axum::response::IntoResponse::into_response(error),
            }
        }
    });
    let routes = Router::new().route("/", axum::routing::get(|| async {})).layer(check);
    routes.oneshot(request).now_or_never().expect("nothing to wait for").expect("an answer").status()
}

/// A name of this machine or a configured one, with a number behind a colon or without.
fn is_ours(host: &str) -> bool {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let name = if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host };
    let is_loopback = match name.strip_prefix('[') {
        Some(name) => name.strip_suffix(']').and_then(|name| name.parse().ok()) == Some(Ipv6Addr::LOCALHOST),
        None => name.parse::<Ipv4Addr>().is_ok_and(|address| address.octets()[0] == 127),
    };
    is_loopback || ["localhost", "192.0.2.7", "vault.local"].contains(&name.to_ascii_lowercase().as_str())
}

/// A page of this machine on any port, or the one that is configured.
fn may_ask(origin: &str) -> bool {
    let Some((_, host)) = origin.split_once("://") else { return false };
    let foreign = ["192.0.2.7", "vault.local"].iter().any(|name| host.to_ascii_lowercase().starts_with(name));
    origin.eq_ignore_ascii_case(PAGE) || is_ours(host) && !foreign
}
