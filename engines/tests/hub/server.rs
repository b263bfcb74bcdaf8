//! A small HTTP server that can misbehave on purpose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn is_get_of(&self, file: &str) -> bool {
        self.method == "GET" && self.path.ends_with(file)
    }

    pub fn range_start(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection is closed after so many bytes of the body.
    pub cut: Option<usize>,
    /// After the cut nothing is sent and the connection stays open.
    pub stall: bool,
    /// The body waits for so many permits.
    pub hold: Option<(Arc<Semaphore>, u32)>,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }
}

/// A server on a free port, for as long as the test's runtime lives.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub async fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, handler) = (requests.clone(), Arc::new(handler));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, handler) = (seen.clone(), handler.clone());
                // A client may go away in the middle; that is not the server's trouble.
                tokio::spawn(async move { serve(stream, &seen, handler.as_ref()).await.ok() });
            }
        });
        Self { url, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn gets_of(&self, file: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.is_get_of(file)).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    handler: &(impl Fn(&Request) -> Answer + Send + Sync),
) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let mut request =
        Request { method: words.next().unwrap_or_default(), path: words.next().unwrap_or_default(), headers: BTreeMap::new() };
    while let Some(line) = lines.next_line().await?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    seen.lock().unwrap().push(request.clone());
    let answer = handler(&request);
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
    stream.write_all(head.as_bytes()).await?;
    if let Some((semaphore, permits)) = &answer.hold {
        let _permits = semaphore.acquire_many(*permits).await;
    }
    if request.method != "HEAD" {
        stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len())]).await?;
        if answer.stall {
            std::future::pending::<()>().await;
        }
    }
    stream.shutdown().await
}

/// A repository as a hub serves it.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    pub name: String,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    pub fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        Self { name: name.into(), files: files.iter().map(|(name, body)| ((*name).to_owned(), body.to_vec())).collect() }
    }

    /// A model with weights in one file.
    pub fn model(name: &str) -> Self {
        Self::new(name, &[("config.json", b"{}"), ("tokenizer.json", b"{\"t\":1}"), ("model.safetensors", &super::content(300_000, 1))])
    }

    /// Serves `main` and its commit, with ranges. What the hub keeps as large files has its SHA-256 as its ETag.
    pub fn answer(&self, request: &Request) -> Answer {
        let rest = request.path.strip_prefix(&format!("/{}/resolve/", self.name));
        let Some((revision, file)) = rest.and_then(|rest| rest.split_once('/')) else {
            return Answer::status(404).with("X-Error-Code", "RepoNotFound");
        };
        if revision != "main" && revision != COMMIT {
            return Answer::status(404).with("X-Error-Code", "RevisionNotFound");
        }
        let Some(body) = self.files.get(file) else {
            return Answer::status(404).with("X-Error-Code", "EntryNotFound").with("X-Repo-Commit", COMMIT);
        };
        let answer = Answer::status(200).with("X-Repo-Commit", COMMIT);
        let answer = if is_large(file) {
            let sum = sha256(body);
            answer.with("X-Linked-Etag", format!("\"{sum}\"")).with("X-Linked-Size", body.len().to_string()).with("ETag", "\"of-the-cdn\"")
        } else {
            answer.with("ETag", format!("W/\"{}\"", small_etag(body)))
        };
        match request.range_start() {
            None => Answer { body: body.clone(), ..answer },
            Some(start) if start >= body.len() => Answer::status(416),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                Answer { status: 206, body: body[start..].to_vec(), ..answer.with("Content-Range", range) }
            }
        }
    }
}

pub fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors") || file.ends_with(".gguf")
}

/// Small files are named by their git object; any 40 digits do.
pub fn small_etag(body: &[u8]) -> String {
    sha256(body)[..40].to_owned()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
