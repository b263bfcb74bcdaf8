//! `/` and `/docs`: the pages in the browser, out of the binary. Their files lie in `daemon/web`; nothing builds them, and they ask for nothing
//! elsewhere. `/docs` is `/openapi.json`, to be read by people.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::App;
use crate::error::ApiError;

/// What the page may do: load what it consists of and ask this daemon. No script but its own files, no frame around it, and no text that
/// becomes markup where a browser can see to that.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// A file of the page.
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// Names these bytes, so that a browser asks again and is told that it has them already.
    tag: HeaderValue,
}

macro_rules! file {
    ($kind:expr, $name:literal) => {
        File::new($kind, $name, include_bytes!(concat!("../../web/", $name)))
    };
}

static INDEX: LazyLock<File> = LazyLock::new(|| file!(HTML, "index.html"));
static DOCS: LazyLock<File> = LazyLock::new(|| file!(HTML, "docs.html"));

/// What the pages load besides themselves.
static ASSETS: LazyLock<[File; 20]> = LazyLock::new(|| {
    [
        file!(STYLE, "style.css"),
        file!(STYLE, "docs.css"),
        file!(PICTURE, "icon.svg"),
        file!(SCRIPT, "answer.js"),
        file!(SCRIPT, "api.js"),
        file!(SCRIPT, "app.js"),
        file!(SCRIPT, "asking.js"),
        file!(SCRIPT, "chat.js"),
        file!(SCRIPT, "compare.js"),
        file!(SCRIPT, "docs.js"),
        file!(SCRIPT, "dom.js"),
        file!(SCRIPT, "forms.js"),
        file!(SCRIPT, "interaction.js"),
        file!(SCRIPT, "metrics.js"),
        file!(SCRIPT, "prompt.js"),
        file!(SCRIPT, "schema.js"),
        file!(SCRIPT, "settings.js"),
        file!(SCRIPT, "status.js"),
        file!(SCRIPT, "tokens.js"),
        file!(SCRIPT, "vault.js"),
    ]
});

/// Whether this path is a page's: a browser that goes to an address sends no key, and there is nothing to hide in it.
pub(crate) fn has(path: &str) -> bool {
    matches!(path, "/" | "/index.html" | "/docs") || path.starts_with("/assets/")
}

/// The pages' routes. They aren't part of the API and don't stand in `/openapi.json`.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/", get(index)).route("/index.html", get(index)).route("/docs", get(docs)).route("/assets/{name}", get(asset))
}

async fn index(headers: HeaderMap) -> Response {
    INDEX.answer(&headers)
}

async fn docs(headers: HeaderMap) -> Response {
    DOCS.answer(&headers)
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let file = ASSETS.iter().find(|file| file.name == name);
    file.map(|file| file.answer(&headers)).ok_or_else(|| ApiError::unknown_path(&format!("/assets/{name}")))
}

impl File {
    fn new(kind: &'static str, name: &'static str, bytes: &'static [u8]) -> Self {
        let tag = format!("\"{}\"", &blake3::hash(bytes).to_hex()[..32]);
        // Quotes and hexadecimal digits always are a header's value.
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { name, kind, bytes, tag }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let common = [
            (header::ETAG, self.tag.clone()),
            // To be asked for each time: the daemon is near, and another version of it has other files under the same names.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        ];
        if self.is_known(headers) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        (common, [(header::CONTENT_TYPE, self.kind)], self.bytes).into_response()
    }

    /// Whether the browser has these very bytes.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        tags.map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == "*" || tag.as_bytes() == self.tag.as_bytes())
    }
}
