//! A server that says what it is told to say, byte by byte, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

/// What it says.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<String>,
    /// After its body it says nothing more and keeps the connection.
    stalls: bool,
}

impl Reply {
    /// An answer that isn't a stream.
    pub fn whole(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: vec![("content-type", "application/json".into())], body: vec![body.into()], stalls: false }
    }

    /// A stream of events; each is its data.
    pub fn events(events: &[&str]) -> Self {
        Self::pieces(&events.iter().map(|data| format!("data: {data}\n\n")).collect::<Vec<_>>())
    }

    /// A stream of anything.
    pub fn pieces(pieces: &[String]) -> Self {
        Self { status: 200, headers: vec![("content-type", "text/event-stream".into())], body: pieces.to_vec(), stalls: false }
    }

    /// A text of completions, whole to its end.
    pub fn text(pieces: &[&str]) -> Self {
        let chunks =
            pieces.iter().map(|text| serde_json::json!({"choices": [{"index": 0, "text": text, "finish_reason": null}]}).to_string());
        let end = [r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#.to_owned(), "[DONE]".to_owned()];
        Self::pieces(&chunks.chain(end).map(|data| format!("data: {data}\n\n")).collect::<Vec<_>>())
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn stalling(self) -> Self {
        Self { stalls: true, ..self }
    }
}

/// The server, on a free port, for as long as the test's runtime lives.
pub struct Fixture {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// One permit for each client that left before the end.
    left: Arc<Semaphore>,
}

impl Fixture {
    /// `reply` sees what was asked and how many times before.
    pub async fn start(reply: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (asked, left, reply) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(Semaphore::new(0)), Arc::new(reply));
        tokio::spawn({
            let (asked, left) = (asked.clone(), left.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (asked, left, reply) = (asked.clone(), left.clone(), reply.clone());
                    tokio::spawn(async move {
                        if serve(stream, &asked, &*reply).await.is_err() {
                            left.add_permits(1);
                        }
                    });
                }
            }
        });
        Self { url, asked, left }
    }

    /// What it was asked for text, without the lists of models.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until a client has left before the end.
    pub async fn left(&self) {
        let waits = tokio::time::timeout(Duration::from_secs(20), self.left.acquire());
        waits.await.expect("the client leaves").unwrap().forget();
    }
}

async fn serve(
    stream: TcpStream,
    asked: &Mutex<Vec<Asked>>,
    reply: &(impl Fn(&Asked, usize) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let request = Asked { path, headers, body: serde_json::from_slice(&body).unwrap_or_default() };
    let reply = if request.path.ends_with("/models") {
        Reply::whole(200, r#"{"object":"list","data":[{"id":"scripted","object":"model","owned_by":"library"}]}"#)
    } else {
        let before = {
            let mut asked = asked.lock().unwrap();
            asked.push(request.clone());
            asked.len() - 1
        };
        reply(&request, before)
    };
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    for piece in &reply.body {
        stream.write_all(piece.as_bytes()).await?;
        stream.flush().await?;
    }
    if reply.stalls {
        // Nothing comes from a client that waits, so this ends when it has left.
        stream.read_u8().await?;
    }
    stream.shutdown().await
}
