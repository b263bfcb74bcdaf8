//! The accept loop on real sockets: slow and stalled clients, too many of them, headers without end, TLS.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use futures_util::stream;
use minivault_daemon::body::Pace;
use minivault_daemon::config::{Listen, ServerSettings, TlsFiles};
use minivault_daemon::door::listener::Listener;
use minivault_daemon::door::server::serve;
use minivault_daemon::door::tls::Tls;
use minivault_daemon::routes::Limits;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::support::{Daemon, PATIENCE, limits, server_settings};

/// Serves these routes until the test's runtime ends; where.
async fn listening(routes: Router, settings: &ServerSettings) -> String {
    let listener = Listener::bind(&Listen::Tcp("127.0.0.1:0".into())).await.unwrap();
    let listener = listener.with_tls(settings.tls.as_ref().map(|files| Tls::new(files).unwrap()));
    let Listen::Tcp(address) = listener.address() else { panic!("it is TCP") };
    tokio::spawn(serve(vec![listener], watch::channel(routes).1, settings.terms, pending()));
    address
}

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// All that comes until the connection ends, however it ends.
async fn rest(mut stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        // Closed or reset: either is an end.
        let _ = stream.read_to_end(&mut bytes).await;
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> String {
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    rest(stream).await
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n";

fn health() -> Router {
    Router::new().route("/health", get(async || "ok"))
}

#[tokio::test]
async fn a_client_that_sends_no_head_in_time_is_cut_off() {
    let mut settings = server_settings();
    settings.terms.head = Duration::from_millis(100);
    let address = listening(health(), &settings).await;
    for sent in [&b""[..], b"G", b"GET /health HTTP/1.1\r\nHost: local"] {
        let mut stream = connect(&address).await;
        let start = Instant::now();
        stream.write_all(sent).await.unwrap();
        rest(stream).await;
        assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
    }
    // And one that sends a byte whenever there is hope.
    let mut stream = connect(&address).await;
    let dripping = async {
        for byte in HEALTH.bytes().cycle() {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dripping).await.expect("an end in time");
}

#[tokio::test]
async fn a_body_that_drips_is_answered_with_408_and_a_slow_one_is_taken() {
    let pace = Pace { start: Duration::from_millis(200), bytes_per_second: 1000 };
    let daemon = Daemon::reciting("abc").await.limited(Limits { pace, ..limits() });
    let address = listening(daemon.router.clone(), &server_settings()).await;
    let body = format!(r#"{{"prompt": "x", "max_tokens": 3, "stop": ["{}"]}}"#, "z".repeat(900));
    let head =
        format!("POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());

    let mut stream = connect(&address).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..50]).await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains(r#""code":"request_timeout""#), "{answer}");
    assert!(answer.contains("50 bytes of the body came in 0.3 seconds; the limit is 1000 bytes a second after 0.2 seconds"), "{answer}");
    assert!(daemon.log().is_empty());

    // Nine hundred bytes within the second that they may take.
    let mut stream = connect(&address).await;
    stream.write_all(head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    for part in body.as_bytes().chunks(200) {
        stream.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_reader_that_has_stalled_is_cut_off() {
    let (gone, mut ended) = mpsc::channel::<()>(1);
    let gone = Arc::new(Mutex::new(Some(gone)));
    let endless = move || {
        // The body alone has it: when it is dropped, the channel ends.
        let gone = gone.lock().unwrap().take();
        async move {
            let body = stream::repeat_with(move || {
                let _with_the_body = &gone;
                Ok::<_, std::io::Error>(vec![b'x'; 1 << 16])
            });
            Body::from_stream(body)
        }
    };
    let mut settings = server_settings();
    settings.terms.write = Duration::from_millis(300);
    let address = listening(Router::new().route("/endless", get(endless)), &settings).await;
    let mut stream = connect(&address).await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // It reads for longer than it may stall, and is served.
    let start = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    while start.elapsed() < Duration::from_millis(900) {
        assert!(stream.read(&mut buffer).await.unwrap() > 0, "a reader is not cut off");
        tokio::task::yield_now().await;
    }
    assert_eq!(ended.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    assert_eq!(tokio::time::timeout(PATIENCE, ended.recv()).await.expect("an end in time"), None);
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_one_to_end() {
    let mut settings = server_settings();
    settings.terms.connections = 2;
    let address = listening(health(), &settings).await;
    let held = [connect(&address).await, connect(&address).await];
    let mut third = connect(&address).await;
    third.write_all(format!("{HEALTH}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut byte = [0];
    let waiting = tokio::time::timeout(Duration::from_millis(300), third.read(&mut byte)).await;
    assert!(waiting.is_err(), "it got {waiting:?}");
    drop(held);
    assert!(rest(third).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn headers_without_end_are_refused_by_their_number_and_by_their_length() {
    let mut settings = server_settings();
    settings.terms.headers = minivault_daemon::door::headers::Limits { count: 10, bytes: 1000 };
    let daemon = Daemon::reciting("abc").await.behind(&settings);
    let address = listening(daemon.router.clone(), &settings).await;
    let many = |count: usize| (0..count).map(|index| format!("x-{index}: 1\r\n")).collect::<String>();
    let long = |bytes: usize| format!("x-long: {}\r\n", "y".repeat(bytes));
    for (headers, message) in
        [(many(8), ""), (many(9), "there are 11 headers; the limit is 10"), (long(800), ""), (long(990), "bytes; the limit is 1000")]
    {
        let answer = ask(connect(&address).await, &format!("{HEALTH}{headers}")).await;
        if message.is_empty() {
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        } else {
            assert!(
                answer.starts_with("HTTP/1.1 431") && answer.contains(r#""code":"headers_too_large""#) && answer.contains(message),
                "{answer}"
            );
        }
    }
    // Further than that nobody reads.
    for headers in [many(100), long(100_000), format!("{}: 1\r\n", "z".repeat(50_000))] {
        let mut stream = connect(&address).await;
        // It may be hung up on before it has said all of it.
        let _ = stream.write_all(format!("{HEALTH}{headers}\r\n").as_bytes()).await;
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    }
    let long = format!("GET /health?{} HTTP/1.1\r\nHost: localhost\r\n", "q".repeat(1000));
    assert!(ask(connect(&address).await, &long).await.starts_with("HTTP/1.1 431"));
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The files, and the renewed ones, were made by: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost
/// -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -addext basicConstraints=critical,CA:FALSE -keyout localhost.key -out localhost.crt
fn with_tls() -> ServerSettings {
    ServerSettings { tls: Some(TlsFiles { cert: data("localhost.crt"), key: data("localhost.key") }), ..server_settings() }
}

#[tokio::test]
async fn with_a_certificate_connections_are_encrypted() {
    let mut settings = with_tls();
    settings.terms.head = Duration::from_millis(300);
    let address = listening(health(), &settings).await;
    let stream = greet(&address, "localhost.crt").await.unwrap();
    let answer = ask(stream, HEALTH).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    // Who speaks something else, or nothing, is hung up on.
    assert!(!ask(connect(&address).await, HEALTH).await.starts_with("HTTP/1.1 200"));
    rest(connect(&address).await).await;
}

/// A connection over TLS to a server of which only this certificate is believed.
async fn greet(address: &str, certificate: &str) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data(certificate)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    connector.connect(ServerName::try_from("localhost").unwrap(), connect(address).await).await
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_who_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let put = |name: &str| {
        std::fs::copy(data(&format!("{name}.crt")), &files.cert).unwrap();
        std::fs::copy(data(&format!("{name}.key")), &files.key).unwrap();
    };
    put("localhost");
    let tls = Tls::new(&files).unwrap();
    let listener = Listener::bind(&Listen::Tcp("127.0.0.1:0".into())).await.unwrap().with_tls(Some(tls.clone()));
    let Listen::Tcp(address) = listener.address() else { panic!("it is TCP") };
    tokio::spawn(serve(vec![listener], watch::channel(health()).1, server_settings().terms, pending()));
    greet(&address, "localhost.crt").await.unwrap();
    std::fs::write(&files.key, "no key").unwrap();
    tls.renew().unwrap_err();
    greet(&address, "localhost.crt").await.unwrap();
    put("renewed");
    tls.renew().unwrap();
    greet(&address, "renewed.crt").await.unwrap();
    assert!(greet(&address, "localhost.crt").await.is_err());
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let check = |cert: PathBuf, key: PathBuf, complaint: &str| {
        let error = Tls::new(&TlsFiles { cert, key }).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    };
    check(data("no.crt"), data("localhost.key"), "server.tls.cert: ");
    check(data("localhost.crt"), data("no.key"), "server.tls.key: ");
    check(data("localhost.crt"), data("localhost.crt"), "server.tls.key: ");
    check(data("localhost.key"), data("localhost.key"), "server.tls.cert: ");
}

#[tokio::test]
async fn a_body_that_nobody_reads_holds_no_connection() {
    let routes = Router::new().route("/refused", post(async || axum::http::StatusCode::BAD_REQUEST));
    let address = listening(routes, &server_settings()).await;
    let mut stream = connect(&address).await;
    stream.write_all(b"POST /refused HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc").await.unwrap();
    let start = Instant::now();
    assert!(rest(stream).await.starts_with("HTTP/1.1 400"));
    assert!(start.elapsed() < PATIENCE / 2);
}
