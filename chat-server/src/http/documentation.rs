//! The OpenAPI document and the hub's AsyncAPI document, and a page to browse the first that works offline.

use std::sync::Arc;

use axum::Router;
use axum::extract::OriginalUri;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use chat_core::protocol::{ErrorCode, paths};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode, Uri};
use serde_json::Value;
use utoipa::openapi::{OpenApi, Server};

use super::extract::Json;
use super::problem::{HttpError, HttpResult};
use crate::{asyncapi, typescript};

/// Where the document is.
pub(crate) const OPENAPI: &str = "/openapi.json";
/// Where the hub's document is.
const ASYNCAPI: &str = "/asyncapi.json";
/// Where the hub's TypeScript declarations are.
const TYPESCRIPT: &str = "/hub.d.ts";
/// Where the page is.
const DOCS: &str = "/docs";

/// All of them.
pub(super) const PATHS: [&str; 4] = [OPENAPI, ASYNCAPI, TYPESCRIPT, DOCS];

/// The documents of a server, of its hub too if it `has_hub`.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(
    document: OpenApi,
    has_hub: bool,
) -> Router<S> {
    let document = Arc::new(document);
    let config = Arc::new(
        utoipa_swagger_ui::Config::from("../openapi.json")
            .persist_authorization(false)
            .try_it_out_enabled(true),
    );
    let page = get(move |uri: Uri| async move {
        let path = uri.path().strip_prefix("/docs/").unwrap_or_default();
        file(path, config)
    });
    let of_hub = if has_hub { hub() } else { Router::new() };
    Router::new()
        .merge(of_hub)
        .route(
            OPENAPI,
            get(move |OriginalUri(uri): OriginalUri| async move {
                let mut document = OpenApi::clone(&document);
                // Below a host's prefix the paths begin there.
                let prefix = prefix(&uri, OPENAPI);
                let url = if prefix.is_empty() { "/" } else { prefix };
                document.servers = Some(vec![Server::new(url)]);
                Json(document)
            }),
        )
        .route(
            DOCS,
            // Relative, so that a prefix stays.
            get(|| async { (StatusCode::SEE_OTHER, [(LOCATION, "docs/")]) }),
        )
        .route("/docs/", page.clone())
        .route("/docs/{*file}", page)
}

fn hub<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let document = Arc::new(asyncapi::document());
    let declarations = Bytes::from(typescript::declarations());
    Router::new()
        .route(
            ASYNCAPI,
            get(move |OriginalUri(uri): OriginalUri| async move {
                let mut document = Value::clone(&document);
                let address = format!("{}{}", prefix(&uri, ASYNCAPI), paths::HUB);
                document["channels"]["hub"]["address"] = address.into();
                Json(document)
            }),
        )
        .route(
            TYPESCRIPT,
            // Text, so that a browser shows it.
            get(|| async {
                let content_type = "text/plain; charset=utf-8";
                ([(CONTENT_TYPE, content_type)], declarations)
            }),
        )
}

/// The host's prefix before `path`.
fn prefix<'a>(uri: &'a Uri, path: &str) -> &'a str {
    uri.path().strip_suffix(path).unwrap_or_default()
}

fn file(path: &str, config: Arc<utoipa_swagger_ui::Config<'static>>) -> HttpResult<Response> {
    let file = utoipa_swagger_ui::serve(path, config)
        .map_err(|e| {
            tracing::error!("the documentation's {path} can't be served: {e}");
            HttpError::new(ErrorCode::Internal, "something failed inside the server")
        })?
        .ok_or_else(|| HttpError::new(ErrorCode::NotFound, "there is nothing at this path"))?;
    let mut response = file.bytes.into_owned().into_response();
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(&file.content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if file.gzpipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
