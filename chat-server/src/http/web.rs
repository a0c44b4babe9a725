//! A folder of static files beside the calls: a web client, on the origin that its calls go to.
//!
//! It answers only where no call does: a path of the API stays a problem document, whatever lies in the folder. A page
//! within the app (`/rooms/7`, asked for by a browser) is `index.html`; a file that isn't there is 404.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use chat_core::protocol::ErrorCode;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tower::{Service as _, ServiceExt as _};
use tower_http::services::{ServeDir, ServeFile};

use super::problem::HttpError;
use super::{documentation, operations};
use crate::config::keys;
use crate::serve::StartError;

/// The page of every path within the app.
const INDEX: &str = "index.html";
/// The folder of files whose names change with their content, as bundlers write them.
const ASSETS: &str = "/assets/";
/// Nothing of another origin, nothing inline, in nobody's frame; calls and WebSockets to this origin alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The folder. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct WebRoot {
    files: ServeDir,
    index: Arc<Path>,
}

impl WebRoot {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            // Folders have no page of their own, and no slash is added to them.
            files: ServeDir::new(folder).append_index_html_on_directories(false),
            index: folder.join(INDEX).into(),
        }
    }

    async fn file(&self, request: Request) -> Response {
        answer(self.files.clone().call(request).await)
    }

    async fn index(&self, request: Request) -> Response {
        answer(ServeFile::new(&self.index).oneshot(request).await)
    }
}

/// Makes sure that a folder holds a web client.
///
/// # Errors
/// It has no `index.html`, or can't be read.
pub(crate) fn check(folder: Option<&PathBuf>) -> Result<(), StartError> {
    let Some(folder) = folder else { return Ok(()) };
    let index = folder.join(INDEX);
    std::fs::File::open(&index).map(drop).map_err(|e| {
        StartError::new(format!(
            "{}: {} can't be read: {e}: it must be {}",
            keys::WEB_ROOT.variable(),
            index.display(),
            keys::WEB_ROOT.allowed
        ))
    })
}

/// Answers what no call answers.
pub(super) async fn serve(State(web): State<WebRoot>, request: Request) -> Response {
    let path = request.uri().path();
    if !matches!(*request.method(), Method::GET | Method::HEAD) || !is_public(path) {
        return nothing();
    }
    let is_asset = path.starts_with(ASSETS);
    let is_page = !is_asset && wants_page(request.headers());
    let (parts, _) = request.into_parts();
    let again = || Request::from_parts(parts.clone(), axum::body::Body::empty());
    let mut response = if parts.uri.path() == "/" {
        web.index(again()).await
    } else {
        web.file(again()).await
    };
    if response.status() == StatusCode::NOT_FOUND && is_page {
        response = web.index(again()).await;
    }
    match response.status() {
        StatusCode::NOT_FOUND => return nothing(),
        status if status.is_server_error() => return broken(&parts),
        _ => {}
    }
    let headers = response.headers_mut();
    let cache = if is_asset {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache" // asked again each time, by its date
    };
    for (name, value) in [
        (CACHE_CONTROL, cache),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn answer<B>(answer: Result<http::Response<B>, Infallible>) -> Response
where
    http::Response<B>: IntoResponse,
{
    match answer {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}

/// Whether a path may be a file's: not one that calls have for themselves, and nothing hidden (`.git`, `.env`).
fn is_public(path: &str) -> bool {
    let of_calls = ["/v1"]
        .into_iter()
        .chain(documentation::PATHS)
        .chain(operations::PATHS)
        .any(|own| {
            path.strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    !of_calls
        && !path
            .split('/')
            .any(|part| part.starts_with('.') || part.starts_with("%2e") || part.starts_with("%2E"))
}

/// Whether a browser asks for a page to show, and not a script for a file.
fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("text/html"))
}

fn nothing() -> Response {
    HttpError::new(ErrorCode::NotFound, "there is nothing at this path").into_response()
}

fn broken(parts: &http::request::Parts) -> Response {
    tracing::error!(
        path = parts.uri.path(),
        "a file of the web root can't be read"
    );
    HttpError::new(ErrorCode::Internal, "something failed inside the server").into_response()
}
