//! Questions to the hub, and what its answers mean.

use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Method, Response, StatusCode, Url};

use super::attempts::{Attempt, Miss};
use super::location::Repository;
use super::settings::Settings;
use crate::web::chain;

/// How many redirects an answer may take.
const REDIRECTS: usize = 10;
/// How many new tries follow a first one in vain.
const RETRIES: u32 = 5;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

const REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");

/// Why the hub's answer is of no use.
#[derive(Debug)]
pub(super) enum Problem {
    /// It may be better in a moment.
    Transient { message: String, wait: Option<Duration> },
    /// No connection came about.
    Unreachable(String),
    /// There is no such file; the repository may well be there.
    NotFound(Miss),
    /// Trying again is pointless.
    Final(Miss),
}

impl Problem {
    pub(super) fn transient(message: impl Into<String>) -> Self {
        Self::Transient { message: message.into(), wait: None }
    }
}

impl From<Miss> for Problem {
    fn from(miss: Miss) -> Self {
        Self::Final(miss)
    }
}

impl From<Problem> for Miss {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Transient { message, .. } | Problem::Unreachable(message) => {
                Self::new(message).advise("try again once the hub can be reached; what is here already is kept")
            }
            Problem::NotFound(miss) | Problem::Final(miss) => miss,
        }
    }
}

/// What the hub says of a file before it sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The commit that the revision stands for now.
    pub commit: String,
    /// The name of the content; the SHA-256 for large files.
    pub etag: String,
    /// Bytes.
    pub size: Option<u64>,
}

impl Metadata {
    /// The content's SHA-256, where the etag is one.
    pub(super) fn sha256(&self) -> Option<&str> {
        let is_sha256 = self.etag.len() == 64 && self.etag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_sha256.then_some(self.etag.as_str())
    }
}

/// A client of one hub. The token goes to the hub's own address only.
#[derive(Debug, Clone)]
pub(super) struct Client {
    inner: reqwest::Client,
    endpoint: Url,
    shown_endpoint: String,
    token: Option<HeaderValue>,
    backoff: Duration,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Attempt<Self> {
        let inner = crate::web::client().connect_timeout(settings.connect_timeout).read_timeout(settings.read_timeout).build().map_err(
            |error| {
                Miss::new(format!("no HTTP client can be set up: {}", chain(&error)))
                    .advise("install the system's certificates (the package ca-certificates)")
            },
        )?;
        let token = settings.token.as_ref().map(super::settings::Token::header);
        let (endpoint, shown_endpoint) = (settings.endpoint.clone(), settings.shown_endpoint());
        Ok(Self { inner, endpoint, shown_endpoint, token, backoff: settings.backoff })
    }

    /// A fresh count of tries.
    pub(super) fn retries(&self) -> Retries {
        Retries { left: RETRIES, pause: self.backoff, first_pause: self.backoff, reached: false }
    }

    /// The address of a file in a repository.
    pub(super) fn file_url(&self, repository: &Repository, revision: &str, file: &str) -> Attempt<Url> {
        let mut url = self.endpoint.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(repository.name().split('/')).push("resolve").push(revision).extend(file.split('/'));
            }
            Err(()) => return Err(Miss::new(format!("HF_ENDPOINT `{}` can't have a path", self.shown_endpoint))),
        }
        Ok(url)
    }

    /// Asks what a file is like. Redirects are followed as long as they stay with the hub: the file itself may lie elsewhere,
    /// and what the hub says of it comes with the redirect.
    pub(super) async fn metadata(&self, url: &Url, repository: &Repository) -> Result<Metadata, Problem> {
        let (mut url, mut known) = (url.clone(), Known::default());
        for _ in 0..REDIRECTS {
            let response = self.send(Method::HEAD, &url, None).await?;
            known.read(&response);
            let Some(next) = redirect(&response, &url)? else {
                if !response.status().is_success() {
                    return Err(self.refusal(&response, repository));
                }
                return known.into_metadata(&url).map_err(Problem::Final);
            };
            if !self.is_own(&next) && known.is_complete() {
                return known.into_metadata(&url).map_err(Problem::Final);
            }
            url = next;
        }
        Err(Problem::Final(too_many_redirects(&url)))
    }

    /// Asks for a file's bytes from `start` on. The answer's status is 200, 206 or 416.
    pub(super) async fn bytes(&self, url: &Url, start: u64, repository: &Repository) -> Result<Response, Problem> {
        let mut url = url.clone();
        for _ in 0..REDIRECTS {
            let response = self.send(Method::GET, &url, (start > 0).then_some(start)).await?;
            match redirect(&response, &url)? {
                Some(next) => url = next,
                None => {
                    return match response.status() {
                        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
                        _ => Err(self.refusal(&response, repository)),
                    };
                }
            }
        }
        Err(Problem::Final(too_many_redirects(&url)))
    }

    async fn send(&self, method: Method, url: &Url, start: Option<u64>) -> Result<Response, Problem> {
        // A size or a range of compressed bytes would say nothing about the file.
        let mut request = self.inner.request(method, url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(start) = start {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| self.is_own(url)) {
            request = request.header(AUTHORIZATION, token.clone());
        }
        request.send().await.map_err(|error| broken(error, url))
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    /// What an answer without the file means.
    fn refusal(&self, response: &Response, repository: &Repository) -> Problem {
        let status = response.status();
        let headers = response.headers();
        let code = text(headers, &ERROR_CODE).unwrap_or_default();
        let name = repository.name();
        let said = text(headers, &ERROR_MESSAGE).map(|message| format!(" (the hub says: {message})")).unwrap_or_default();
        let page = format!("{}/{name}", self.shown_endpoint);
        let token_advice = match self.token {
            None => "set HF_TOKEN to a token that may read it",
            Some(_) => "set HF_TOKEN to another token: the present one doesn't open it",
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if code == "GatedRepo" => Problem::Final(
                Miss::new(format!("{status}: {name} is gated{said}")).advise(format!("accept its terms at {page} and {token_advice}")),
            ),
            StatusCode::UNAUTHORIZED => Problem::Final(
                Miss::new(format!("{status}: there is no repository {name}, or it is private or gated{said}"))
                    .advise(format!("check the name `{name}`; for a private or gated one, {token_advice}")),
            ),
            StatusCode::FORBIDDEN => Problem::Final(
                Miss::new(format!("{status}: access to {name} is refused{said}"))
                    .advise(format!("if it is gated, accept its terms at {page}, and {token_advice}")),
            ),
            StatusCode::NOT_FOUND if code == "RepoNotFound" => Problem::Final(
                Miss::new(format!("{status}: there is no repository {name}{said}"))
                    .advise(format!("check the name `{name}`; if it is private, {token_advice}")),
            ),
            StatusCode::NOT_FOUND if code == "RevisionNotFound" => {
                Problem::Final(Miss::new(format!("{status}: {name} has no such revision{said}")).advise("check `revision`"))
            }
            StatusCode::NOT_FOUND => Problem::NotFound(
                Miss::new(format!("{status}: there is no {}{said}", response.url().path()))
                    .advise(format!("check the name `{name}` and that the repository has this file")),
            ),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => transient(status, headers),
            _ if status.is_server_error() => transient(status, headers),
            _ => Problem::Final(Miss::new(format!("the hub answered {status}{said}"))),
        }
    }
}

/// New tries after trouble that may pass.
#[derive(Debug)]
pub(super) struct Retries {
    left: u32,
    pause: Duration,
    first_pause: Duration,
    reached: bool,
}

impl Retries {
    /// The server has answered or sent something of use: trouble from here on is a new one.
    pub(super) fn progressed(&mut self) {
        self.left = RETRIES;
        self.pause = self.first_pause;
        self.reached = true;
    }

    /// Waits before the next try, or gives the problem back where there shall be none. A machine that was never reached is given up
    /// at once: most likely there is no network, and whoever waits for a model would wait in vain.
    pub(super) async fn wait_after(&mut self, problem: Problem) -> Result<(), Problem> {
        let asked_for = match &problem {
            Problem::Transient { wait, .. } => *wait,
            Problem::Unreachable(_) if self.reached => None,
            _ => return Err(problem),
        };
        if self.left == 0 {
            return Err(problem);
        }
        self.left -= 1;
        self.reached = true;
        tracing::debug!(?problem, left = self.left, "trying again");
        tokio::time::sleep(asked_for.unwrap_or(self.pause).min(LONGEST_PAUSE)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// What has been learnt of a file over a chain of answers.
#[derive(Debug, Default)]
struct Known {
    commit: Option<String>,
    etag: Option<String>,
    linked: bool,
    size: Option<u64>,
}

impl Known {
    fn read(&mut self, response: &Response) {
        let headers = response.headers();
        if self.commit.is_none() {
            self.commit = text(headers, &REPO_COMMIT);
        }
        if let Some(etag) = text(headers, &LINKED_ETAG) {
            (self.etag, self.linked) = (Some(etag), true);
        } else if !self.linked && response.status().is_success() {
            self.etag = text(headers, &ETAG).or(self.etag.take());
        }
        let size = |name| text(headers, name).and_then(|size| size.parse().ok());
        // A redirect's own length is that of its little page.
        self.size = size(&LINKED_SIZE).or(self.size).or_else(|| response.status().is_success().then(|| size(&CONTENT_LENGTH)).flatten());
    }

    fn is_complete(&self) -> bool {
        self.commit.is_some() && self.etag.is_some()
    }

    fn into_metadata(self, url: &Url) -> Attempt<Metadata> {
        let no_hub = |what: &str| {
            Miss::new(format!("{} answered without {what}; a Hugging Face hub sends one", url.origin().ascii_serialization()))
                .advise("check HF_ENDPOINT")
        };
        let commit = self.commit.filter(|commit| super::location::is_commit(commit)).ok_or_else(|| no_hub("a commit (X-Repo-Commit)"))?;
        let etag = self.etag.as_deref().map(bare_etag).ok_or_else(|| no_hub("an ETag"))?;
        // It becomes a file's name.
        let plain = (1..=128).contains(&etag.len())
            && etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            && !etag.starts_with('.');
        if !plain {
            return Err(no_hub(&format!("a usable ETag (`{etag}`)")));
        }
        Ok(Metadata { commit, etag: etag.to_owned(), size: self.size })
    }
}

fn bare_etag(etag: &str) -> &str {
    etag.trim().trim_start_matches("W/").trim_matches('"')
}

/// Where a part of a file begins, and the size of the whole: `bytes 100-199/200`.
pub(super) fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let value = text(response.headers(), &CONTENT_RANGE)?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// An error of the connection in one sentence, with its causes.
pub(super) fn broken(error: reqwest::Error, url: &Url) -> Problem {
    let host = url.origin().ascii_serialization();
    if error.is_connect() {
        let causes = chain(&error.without_url());
        if causes.contains("invalid peer certificate") {
            return Problem::Final(
                Miss::new(format!("{host} shows a certificate that this machine doesn't trust: {causes}"))
                    .advise("add its issuer to the system's certificates, or set SSL_CERT_FILE to a file that has it"),
            );
        }
        return Problem::Unreachable(format!("{host} can't be reached: {causes}"));
    }
    if error.is_timeout() {
        return Problem::transient(format!("{host} stopped sending"));
    }
    Problem::transient(format!("the connection to {host} broke: {}", chain(&error.without_url())))
}

fn redirect(response: &Response, from: &Url) -> Result<Option<Url>, Problem> {
    if !response.status().is_redirection() {
        return Ok(None);
    }
    let location = text(response.headers(), &LOCATION);
    let next = location.as_deref().and_then(|location| from.join(location).ok()).filter(|url| matches!(url.scheme(), "http" | "https"));
    match next {
        Some(url) => Ok(Some(url)),
        None => {
            let status = response.status();
            let message = format!("{} answered {status} and led nowhere: {location:?}", from.origin().ascii_serialization());
            Err(Problem::Final(Miss::new(message).advise("check HF_ENDPOINT")))
        }
    }
}

fn too_many_redirects(url: &Url) -> Miss {
    Miss::new(format!("{} redirected more than {REDIRECTS} times", url.origin().ascii_serialization())).advise("check HF_ENDPOINT")
}

fn transient(status: StatusCode, headers: &HeaderMap) -> Problem {
    let wait = text(headers, &RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    Problem::Transient { message: format!("the hub answered {status}"), wait }
}

/// A header that is plain text; no control character of a foreign server ever reaches a terminal.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
