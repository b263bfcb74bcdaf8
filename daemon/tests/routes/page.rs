//! The page in the browser: what it is made of, what it may do, and who gets it.

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use minivault_daemon::door::keys::{Key, Secret};
use minivault_daemon::door::limits::Limits;

use crate::support::{Daemon, json_of, server_settings, text_of};

async fn get(daemon: &Daemon, path: &str) -> Response<Body> {
    daemon.send(Request::get(path).body(Body::empty()).unwrap()).await
}

/// What the page names in quotes behind these words.
fn named(text: &str, before: &str) -> Vec<String> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_come_from_the_daemon() {
    let daemon = Daemon::reciting("abc").await;
    let index = get(&daemon, "/").await;
    assert_eq!((index.status(), &index.headers()["content-type"]), (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap()));
    let text = text_of(index).await;
    assert!(text.starts_with("<!doctype html>"), "{text}");
    assert_eq!(text_of(get(&daemon, "/index.html").await).await, text);

    let docs = get(&daemon, "/docs").await;
    assert_eq!((docs.status(), &docs.headers()["content-type"]), (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap()));
    let docs = text_of(docs).await;
    assert!(docs.starts_with("<!doctype html>") && docs != text, "{docs}");

    let mut seen = everything_loaded(&daemon, &text).await;
    // What /docs is about is loaded with it.
    let document = text_of(get(&daemon, "/openapi.json").await).await.len();
    let of_docs = everything_loaded(&daemon, &docs).await;
    let bytes = |page: &str, files: &[(String, usize)]| page.len() + files.iter().map(|(_, bytes)| bytes).sum::<usize>();
    assert!(bytes(&text, &seen) < 200_000, "the page's first load has {} bytes", bytes(&text, &seen));
    assert!(bytes(&docs, &of_docs) + document < 200_000, "/docs has {} bytes and its document {document}", bytes(&docs, &of_docs));

    seen.extend(of_docs);
    let mut seen: Vec<String> = seen.into_iter().map(|(name, _)| name).collect();
    seen.sort();
    seen.dedup();
    let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".html"))
        .collect();
    files.sort();
    assert_eq!(seen, files, "every file is loaded, and none is missing");
}

/// All files that a page loads, with their sizes.
async fn everything_loaded(daemon: &Daemon, page: &str) -> Vec<(String, usize)> {
    let mut wanted = [named(page, "href=\"assets/"), named(page, "src=\"assets/")].concat();
    let mut seen: Vec<(String, usize)> = Vec::new();
    while let Some(name) = wanted.pop() {
        if seen.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let response = get(daemon, &format!("/assets/{name}")).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        let kind = match name.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{name} is of an unexpected kind, {other}"),
        };
        assert_eq!(response.headers()["content-type"], kind, "{name}");
        let text = text_of(response).await;
        wanted.extend(named(&text, "from \"./"));
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"] {
            let namespaces = text.matches("http://www.w3.org/2000/svg").count();
            let found = text.matches(sink).count() - if sink == "http://" { namespaces } else { 0 };
            assert_eq!(found, 0, "{name} has {sink}: what a model says is text, and nothing comes from elsewhere");
        }
        seen.push((name, text.len()));
    }
    seen
}

#[tokio::test]
async fn a_browser_is_told_what_the_page_may_do() {
    let daemon = Daemon::reciting("abc").await;
    for path in ["/", "/docs", "/assets/app.js", "/assets/style.css"] {
        let response = get(&daemon, path).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
        let policy = header("content-security-policy");
        for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.split(';').any(|part| part.trim() == rule), "{rule} isn't in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let daemon = Daemon::reciting("abc").await;
    let mut tags = Vec::new();
    for path in ["/", "/assets/app.js", "/assets/api.js"] {
        let response = get(&daemon, path).await;
        assert_eq!(response.headers()["cache-control"], "no-cache");
        let tag = response.headers()["etag"].to_str().unwrap().to_owned();
        for (sent, status) in
            [(tag.clone(), 304), (format!("\"other\", W/{tag}"), 304), ("*".into(), 304), ("\"other\"".into(), 200), (String::new(), 200)]
        {
            let again = daemon.send(Request::get(path).header("if-none-match", &sent).body(Body::empty()).unwrap()).await;
            assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (status, &tag.parse().unwrap()), "{path} {sent}");
            assert_eq!(text_of(again).await.is_empty(), status == 304, "{path} {sent}");
        }
        tags.push(tag);
    }
    tags.dedup();
    assert_eq!(tags.len(), 3, "each file has its own");
}

#[tokio::test]
async fn other_names_and_methods_are_refused_as_everywhere() {
    let daemon = Daemon::reciting("abc").await;
    for path in [
        "/assets/",
        "/assets/none.js",
        "/assets/index.html",
        "/assets/..%2fsrc%2flib.rs",
        "/assets/tests/test_page.py",
        "/index.htm",
        "/docs.html",
        "/docs/",
    ] {
        let (status, error) = json_of(get(&daemon, path).await).await;
        assert_eq!((status.as_u16(), &error["error"]["code"]), (404, &"not_found".into()), "{path}");
    }
    let request = Request::builder().method(Method::POST).uri("/").body(Body::empty()).unwrap();
    let (status, error) = json_of(daemon.send(request).await).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (405, &"method_not_allowed".into()));
    let head = daemon.send(Request::builder().method(Method::HEAD).uri("/").body(Body::empty()).unwrap()).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(text_of(head).await, "");
}

#[tokio::test]
async fn the_page_needs_no_key_and_what_it_asks_does() {
    let mut settings = server_settings();
    settings.keys = vec![Key { name: "ada".into(), secret: Secret::of("sk-ada"), limits: Limits::default() }];
    let daemon = Daemon::reciting("abc").await.behind(&settings);
    for (path, status) in [
        ("/", 200),
        ("/index.html", 200),
        ("/docs", 200),
        ("/assets/app.js", 200),
        ("/openapi.json", 401),
        ("/v1/models", 401),
        ("/indexes", 401),
        ("//", 401),
    ] {
        assert_eq!(get(&daemon, path).await.status().as_u16(), status, "{path}");
    }
    for (header, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
        let request = Request::get("/").header(header, value).body(Body::empty()).unwrap();
        assert_eq!(daemon.send(request).await.status(), StatusCode::FORBIDDEN, "{header}");
    }
    settings.page = false;
    let daemon = daemon.behind(&settings);
    assert_eq!(get(&daemon, "/").await.status(), StatusCode::UNAUTHORIZED, "without a page its paths are as all others");
}

#[tokio::test]
async fn a_daemon_without_a_page_has_nothing_there() {
    let daemon = Daemon::reciting("abc").await.without_page();
    for path in ["/", "/index.html", "/docs", "/assets/app.js"] {
        assert_eq!(json_of(get(&daemon, path).await).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(get(&daemon, "/health").await.status(), StatusCode::OK);
}
