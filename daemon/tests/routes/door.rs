//! Who is let in: hosts, origins, keys and their limits.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use minivault_daemon::config::{Listen, ServerSettings};
use minivault_daemon::door::keys::{Key, Secret};
use minivault_daemon::door::limits::Limits;
use minivault_daemon::door::origins::Origin;
use minivault_engines::testkit::{Gate, Script};
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Daemon, Engine, json_of, server_settings, text_of};

const KEY: &str = "sk-ada";

async fn daemon(change: impl FnOnce(&mut ServerSettings)) -> Daemon {
    let mut settings = server_settings();
    change(&mut settings);
    Daemon::reciting("abc").await.behind(&settings)
}

fn key(name: &str, secret: &str, limits: Limits) -> Key {
    Key { name: name.into(), secret: Secret::of(secret), limits }
}

fn ada() -> Vec<Key> {
    vec![key("ada", KEY, Limits::default()), key("bob", "sk-bob", Limits::default())]
}

/// Sends just these headers, and nothing on its own.
async fn send(daemon: &Daemon, method: &Method, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::builder().method(method.clone()).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let json = r#"{"prompt": "x", "max_tokens": 3}"#;
    let body = if *method == Method::POST { Body::from(json) } else { Body::empty() };
    daemon.router.clone().oneshot(request.header("content-type", "application/json").body(body).unwrap()).await.unwrap()
}

async fn check(daemon: &Daemon, headers: &[(&str, &str)], status: u16, code: &str) {
    let logged = daemon.app.journal.written();
    for (method, path) in [
        (Method::GET, "/health"),
        (Method::POST, "/generate"),
        (Method::GET, "/nowhere"),
        (Method::OPTIONS, "/v1/models"),
        (Method::DELETE, "/interactions"),
        (Method::HEAD, "/"),
    ] {
        let response = send(daemon, &method, path, headers).await;
        assert!(response.headers().contains_key("x-request-id") && !allowed(response.headers()), "{method} {path} {headers:?}");
        if status == 200 {
            assert!(![400, 401, 403].contains(&response.status().as_u16()), "{method} {path} {headers:?} got {}", response.status());
            continue;
        }
        assert_eq!(response.status().as_u16(), status, "{method} {path} {headers:?}");
        if method != Method::HEAD {
            assert_eq!(json_of(response).await.1["error"]["code"], code, "{method} {path} {headers:?}");
        }
    }
    assert_eq!(daemon.app.journal.written() - logged, u64::from(status == 200), "a refused request isn't logged");
}

/// Whether a page of another origin is told that it may.
fn allowed(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("access-control-"))
}

#[tokio::test]
async fn only_requests_to_this_machine_are_answered_whatever_they_ask() {
    let daemon = daemon(|_| {}).await;
    for host in ["localhost", "localhost:8000", "127.0.0.1:1", "127.1.2.3", "[::1]:8000"] {
        check(&daemon, &[("host", host)], 200, "").await;
    }
    for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "192.168.1.5:8000", "0.0.0.0:8000", "user@localhost", ""] {
        check(&daemon, &[("host", host)], 403, "forbidden").await;
    }
    check(&daemon, &[], 400, "invalid_request").await;
    check(&daemon, &[("host", "localhost"), ("host", "localhost")], 400, "invalid_request").await;
    check(&daemon, &[("host", "evil.example"), ("host", "localhost")], 400, "invalid_request").await;
}

#[tokio::test]
async fn a_whole_address_in_the_first_line_counts_too() {
    let daemon = daemon(|_| {}).await;
    for (uri, status) in [("http://evil.example/health", 403), ("http://localhost/health", 200), ("http://user@localhost/health", 403)] {
        let response = send(&daemon, &Method::GET, uri, &[("host", "localhost")]).await;
        assert_eq!(response.status().as_u16(), status, "{uri}");
    }
}

#[tokio::test]
async fn http_1_0_needs_no_host() {
    let daemon = daemon(|_| {}).await;
    for (headers, status) in [(HeaderMap::new(), 200), (HeaderMap::from_iter([(header::HOST, "evil.example".parse().unwrap())]), 403)] {
        let mut request = Request::get("/health").version(Version::HTTP_10).body(Body::empty()).unwrap();
        *request.headers_mut() = headers;
        assert_eq!(daemon.router.clone().oneshot(request).await.unwrap().status().as_u16(), status);
    }
}

#[tokio::test]
async fn more_names_can_be_configured_and_what_is_listened_on_is_one() {
    let daemon = daemon(|settings| {
        settings.listen = vec![Listen::Tcp("192.0.2.7:80".into()), Listen::Tcp("0.0.0.0:80".into()), Listen::Tcp("box:80".into())];
        settings.hosts = vec!["vault.example".into()];
    })
    .await;
    for (host, status) in [("192.0.2.7", 200), ("box:80", 200), ("VAULT.example:443", 200), ("0.0.0.0", 403), ("x.vault.example", 403)] {
        check(&daemon, &[("host", host)], status, "forbidden").await;
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_and_told_nothing() {
    let daemon = daemon(|_| {}).await;
    let host = ("host", "localhost:8000");
    check(&daemon, &[host, ("origin", "http://localhost:8000")], 200, "").await;
    for origin in ["https://evil.example", "http://localhost:3000", "http://localhost", "null", "", "http://localhost:8000.evil.example"] {
        check(&daemon, &[host, ("origin", origin)], 403, "forbidden").await;
    }
}

const PAGE: &str = "https://app.example";

#[tokio::test]
async fn a_page_that_may_ask_is_told_so_before_and_with_every_answer() {
    let daemon = daemon(|settings| {
        settings.origins = vec![Origin::parse(PAGE).unwrap()];
        settings.keys = ada();
    })
    .await;
    let preflight = [
        ("host", "localhost"),
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let response = send(&daemon, &Method::OPTIONS, "/v1/chat/completions", &preflight).await;
    assert_eq!(response.status(), StatusCode::OK, "it carries no key");
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-origin"], PAGE);
    assert_eq!(headers["access-control-allow-headers"], "authorization,content-type");
    assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    assert_eq!(headers["access-control-max-age"], "600");
    assert!(!headers.contains_key("access-control-allow-credentials"));
    assert!(headers["vary"].to_str().unwrap().to_lowercase().contains("origin"));

    let page = [("host", "localhost"), ("origin", PAGE)];
    let with_key = [page[0], page[1], ("authorization", "Bearer sk-ada")];
    for (headers, path, status) in [(&page[..], "/generate", 401), (&with_key, "/generate", 200), (&with_key, "/nowhere", 404)] {
        let response = send(&daemon, &Method::POST, path, headers).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["access-control-allow-origin"], PAGE, "{path} {status}");
        assert!(response.headers()["access-control-expose-headers"].to_str().unwrap().contains("retry-after"));
        assert!(response.headers()["vary"].to_str().unwrap().to_lowercase().contains("origin"));
    }
    let response = send(&daemon, &Method::OPTIONS, "/generate", &[("host", "localhost"), ("origin", "https://evil.example")]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(!allowed(response.headers()));
}

#[tokio::test]
async fn all_pages_may_ask_where_that_is_configured() {
    let daemon = daemon(|settings| settings.origins = vec![Origin::Any]).await;
    for origin in [PAGE, "null", "http://localhost:3000"] {
        let response = send(&daemon, &Method::POST, "/generate", &[("host", "localhost"), ("origin", origin)]).await;
        assert_eq!((response.status(), &response.headers()["access-control-allow-origin"]), (StatusCode::OK, &origin.parse().unwrap()));
    }
    // Its own name may be anything only where that is configured as well.
    let response = send(&daemon, &Method::POST, "/generate", &[("host", "evil.example"), ("origin", "http://evil.example")]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn with_keys_every_route_but_health_needs_one() {
    let daemon = daemon(|settings| settings.keys = ada()).await;
    let host = ("host", "localhost");
    for path in ["/ready", "/v1/models", "/openapi.json", "/interactions", "/props", "/nowhere", "/health/", "//health"] {
        let response = send(&daemon, &Method::GET, path, &[host]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer", "{path}");
        let error = json_of(response).await.1["error"].clone();
        assert_eq!((&error["code"], &error["type"]), (&json!("unauthorized"), &json!("authentication_error")), "{path}");
    }
    for path in ["/health", "/v1/health"] {
        assert_eq!(send(&daemon, &Method::GET, path, &[host]).await.status(), StatusCode::OK, "{path}");
    }
    for header in [
        ("authorization", "Bearer sk-ada"),
        ("authorization", "bearer sk-bob"),
        ("authorization", "BEARER  sk-bob "),
        ("x-api-key", "sk-ada"),
    ] {
        assert_eq!(send(&daemon, &Method::GET, "/v1/models", &[host, header]).await.status(), StatusCode::OK, "{header:?}");
    }
    for header in [
        ("authorization", "Bearer sk-adb"),
        ("authorization", "Bearer sk-ad"),
        ("authorization", "Bearer sk-adaa"),
        ("authorization", "Bearer "),
        ("authorization", "Bearer"),
        ("authorization", "sk-ada"),
        ("authorization", "Basic sk-ada"),
        ("x-api-key", ""),
        ("x-api-key", "Bearer sk-ada"),
        ("api-key", "sk-ada"),
    ] {
        let response = send(&daemon, &Method::GET, "/v1/models", &[host, header]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{header:?}");
        assert!(!text_of(response).await.contains("sk-"), "nobody's key is repeated");
    }
    let either = [host, ("authorization", "Bearer none"), ("x-api-key", "sk-ada")];
    assert_eq!(send(&daemon, &Method::GET, "/v1/models", &either).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn without_keys_any_key_will_do() {
    let daemon = daemon(|_| {}).await;
    let with_key = [("host", "localhost"), ("authorization", "Bearer none")];
    assert_eq!(send(&daemon, &Method::POST, "/generate", &with_key).await.status(), StatusCode::OK);
    assert_eq!(daemon.log()[0].get("key"), None);
}

#[tokio::test]
async fn the_log_names_the_key_and_never_tells_it() {
    let daemon = daemon(|settings| settings.keys = ada()).await;
    for (path, header) in [("/generate", ("authorization", "Bearer sk-ada")), ("/stream-generate", ("x-api-key", "sk-bob"))] {
        let response = send(&daemon, &Method::POST, path, &[("host", "localhost"), header]).await;
        assert_eq!(response.status(), StatusCode::OK);
        text_of(response).await;
    }
    let log = daemon.log_of(2).await;
    assert_eq!(log.iter().map(|line| &line["key"]).collect::<Vec<_>>(), ["ada", "bob"]);
    assert!(!std::fs::read_to_string(daemon.log_path()).unwrap().contains("sk-"));
}

#[tokio::test]
async fn a_key_has_as_many_requests_under_way_as_it_may_until_they_are_read_to_the_end() {
    let gate = Gate::closed();
    let engine = Engine::new("scripted", Script { gate: Some(gate.clone()), text: "abc".into(), ..Script::default() });
    let mut settings = server_settings();
    settings.keys = vec![key("ada", KEY, Limits { concurrent: Some(1), ..Limits::default() }), key("bob", "sk-bob", Limits::default())];
    let daemon = Daemon::with(vec![engine]).await.behind(&settings);
    let (host, ada, bob) = (("host", "localhost"), ("x-api-key", KEY), ("x-api-key", "sk-bob"));
    let held = send(&daemon, &Method::POST, "/stream-generate", &[host, ada]).await;
    assert_eq!(held.status(), StatusCode::OK);
    let refused = send(&daemon, &Method::GET, "/v1/models", &[host, ada]).await;
    assert_eq!((refused.status(), &refused.headers()["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap()));
    let error = json_of(refused).await.1;
    assert_eq!(error["error"]["code"], "rate_limited");
    assert_eq!(error["error"]["message"], "key `ada` has 1 requests under way, which is its limit");
    assert_eq!(send(&daemon, &Method::GET, "/v1/models", &[host, bob]).await.status(), StatusCode::OK, "it isn't bob's limit");
    gate.open();
    assert!(text_of(held).await.contains("event: done"));
    let left = send(&daemon, &Method::POST, "/stream-generate", &[host, ada]).await;
    assert_eq!(left.status(), StatusCode::OK);
    drop(left);
    assert_eq!(send(&daemon, &Method::GET, "/v1/models", &[host, ada]).await.status(), StatusCode::OK, "its client has left");
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let limits = Limits { requests_per_minute: Some(2), ..Limits::default() };
    let daemon = daemon(|settings| settings.keys = vec![key("ada", KEY, limits)]).await;
    let headers = [("host", "localhost"), ("x-api-key", KEY)];
    for _ in 0..2 {
        assert_eq!(send(&daemon, &Method::GET, "/v1/models", &headers).await.status(), StatusCode::OK);
    }
    let refused = send(&daemon, &Method::GET, "/v1/models", &headers).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((25..=30).contains(&wait), "{wait}");
    assert_eq!(json_of(refused).await.1["error"]["code"], "rate_limited");
    assert_eq!(send(&daemon, &Method::GET, "/health", &headers).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json_so_that_no_form_can_post_one() {
    let daemon = daemon(|settings| settings.origins = vec![Origin::Any]).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        for path in ["/generate", "/v1/chat/completions", "/v1/embeddings", "/completion", "/tokenize", "/interactions/x/replay"] {
            let request = Request::post(path).header("host", "localhost").header("content-type", kind).body(Body::from("{}")).unwrap();
            assert_eq!(daemon.router.clone().oneshot(request).await.unwrap().status().as_u16(), 415, "{path} {kind}");
        }
    }
}
