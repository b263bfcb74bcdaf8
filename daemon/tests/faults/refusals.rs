//! Strangers at the door: each is refused as the table of errors says, and at once.

use std::time::Duration;

use serde_json::json;

use crate::connection::{Answer, get, post, request, send};
use crate::table::{Row, milliseconds};
use crate::{Engine, Extent, daemon::Daemon};

/// How soon a refusal must come.
const AT_ONCE: Duration = Duration::from_millis(100);
const KEY: &str = "k-0123456789abcdefghijklmnopqrstuvwxyz";

/// Names that are not this machine's, and some that only look so.
const HOSTS: [&str; 20] = [
    "example.com",
    "evil.example:8000",
    "localhost.evil.example",
    "evil-localhost",
    "127.0.0.1.evil.example",
    "127.0.0.1.nip.io",
    "localhost.",
    "LOCALHOST.evil",
    "[::1].evil.example",
    "[::ffff:8.8.8.8]",
    "8.8.8.8",
    "169.254.169.254",
    "10.0.0.1",
    "192.168.1.1:8000",
    "0x7f000001.example",
    "127.0.0.1@evil.example",
    "evil.example#localhost",
    "localhost/evil",
    "metadata.google.internal",
    "xn--localhost-9za",
];

struct Seen {
    count: usize,
    wrong: Vec<String>,
    slowest: Duration,
}

impl Seen {
    fn new() -> Self {
        Self { count: 0, wrong: Vec::new(), slowest: Duration::ZERO }
    }

    fn add(&mut self, case: &str, answer: std::io::Result<Answer>, statuses: &[u16]) {
        self.count += 1;
        match answer {
            Ok(answer) => {
                self.slowest = self.slowest.max(answer.after);
                // A head that is too large never reaches what gives errors their form.
                if !statuses.contains(&answer.status) || answer.status != 431 && answer.error().is_none() {
                    self.wrong.push(format!("{case:.40}: {} {:.80}", answer.status, answer.body));
                }
            }
            Err(error) => self.wrong.push(format!("{case:.40}: {error}")),
        }
    }

    fn row(self, fault: &str, extent: Extent) -> Row {
        let wrong = if self.wrong.is_empty() { String::new() } else { format!("; not so: {}", self.wrong.join("; ")) };
        let seen = format!("{} refused, the slowest within {}{wrong}", self.count - self.wrong.len(), milliseconds(self.slowest));
        Row::new(fault, seen, "each refused within 100 ms", self.wrong.is_empty() && self.slowest < extent.within(AT_ONCE))
    }
}

pub async fn run(extent: Extent) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine { slots: 4, queue: 16, step_tokens: 64, pace: Duration::ZERO };
    let daemon = engine.start(folder.path(), "");
    let locked_folder = tempfile::tempdir().unwrap();
    let locked = engine.start(locked_folder.path(), &format!("keys = [\"{KEY}\"]\n"));
    vec![
        hosts(&daemon, extent).await,
        origins(&daemon, extent).await,
        keys(&locked, extent).await,
        models(&daemon, extent).await,
        sizes(&daemon, extent).await,
    ]
}

async fn hosts(daemon: &Daemon, extent: Extent) -> Row {
    let mut seen = Seen::new();
    for host in HOSTS {
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        seen.add(host, send(&daemon.address, head.as_bytes()).await, &[400, 403]);
    }
    seen.row("20 forms of a foreign Host", extent)
}

async fn origins(daemon: &Daemon, extent: Extent) -> Row {
    let mut seen = Seen::new();
    for origin in ["http://evil.example", "null", "file://", "http://localhost.evil.example", "https://127.0.0.1.nip.io"] {
        for method in ["POST", "GET", "OPTIONS"] {
            let body = r#"{"prompt":"x"}"#;
            let length = body.len();
            let head = format!(
                "{method} /generate HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            seen.add(origin, send(&daemon.address, head.as_bytes()).await, &[403]);
        }
    }
    seen.row("pages of 5 foreign origins", extent)
}

async fn keys(locked: &Daemon, extent: Extent) -> Row {
    let mut seen = Seen::new();
    let mut wrong: Vec<String> = (0..KEY.len()).map(|length| KEY[..length].to_owned()).collect();
    wrong.extend((0..KEY.len()).map(|at| format!("{}~{}", &KEY[..at], &KEY[at + 1..])));
    wrong.extend([format!("{KEY}x"), KEY.to_uppercase()]);
    for key in wrong {
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n");
        seen.add(&key, send(&locked.address, head.as_bytes()).await, &[401]);
    }
    for path in ["/v1/models", "/metrics", "/interactions", "/openapi.json", "/no/such"] {
        seen.add(path, get(&locked.address, path).await, &[401]);
    }
    let right = format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n");
    let admitted = send(&locked.address, right.as_bytes()).await.is_ok_and(|answer| answer.status == 200);
    let healthy = get(&locked.address, "/health").await.is_ok_and(|answer| answer.status == 200);
    if !(admitted && healthy) {
        seen.wrong.push(format!("the right key is admitted: {admitted}; /health needs none: {healthy}"));
    }
    seen.row("keys wrong at every length and place", extent)
}

async fn models(daemon: &Daemon, extent: Extent) -> Row {
    let mut seen = Seen::new();
    for name in
        ["..", "../..", "../../etc/passwd", "/etc/passwd", "%2e%2e%2f", "..\\..", "scripted/../scripted", "scripted\0", "file:///etc"]
    {
        let body = json!({"model": name, "prompt": "x"}).to_string();
        seen.add(name, post(&daemon.address, "/generate", body.as_bytes()).await, &[400, 404]);
    }
    for path in ["/v1/models/..", "/v1/models/%2e%2e", "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1/models/%00", "/../../etc/passwd"] {
        seen.add(path, get(&daemon.address, path).await, &[400, 404]);
    }
    seen.row("paths as names of models", extent)
}

async fn sizes(daemon: &Daemon, extent: Extent) -> Row {
    let mut seen = Seen::new();
    let deep = format!("{{\"prompt\":{}{}}}", "[".repeat(60_000), "]".repeat(60_000));
    seen.add("60,000 deep", post(&daemon.address, "/generate", deep.as_bytes()).await, &[400]);
    let open = format!("{{\"prompt\":{}", "{\"a\":".repeat(60_000));
    seen.add("60,000 deep and open", post(&daemon.address, "/v1/chat/completions", open.as_bytes()).await, &[400]);
    let header = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\nConnection: close\r\n\r\n", "a".repeat(1 << 20));
    seen.add("a header of 1 MiB", send(&daemon.address, header.as_bytes()).await, &[431]);
    let prompt = json!({"prompt": "a".repeat(1_000_000)}).to_string();
    seen.add("a prompt of 1 MB", send(&daemon.address, &request("/generate", prompt.as_bytes())).await, &[400, 413]);
    seen.row("too deep, too long", extent)
}
