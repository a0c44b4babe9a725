//! The OpenAPI document, and a page to browse it that works offline.

use std::sync::Arc;

use axum::Router;
use axum::extract::OriginalUri;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chat_core::protocol::ErrorCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode, Uri};
use utoipa::openapi::{OpenApi, Server};

use super::extract::Json;
use super::problem::{HttpError, HttpResult};

/// Where the document is.
pub(crate) const OPENAPI: &str = "/openapi.json";
/// Where the page is.
pub(super) const DOCS: &str = "/docs";

pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: OpenApi) -> Router<S> {
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
    Router::new()
        .route(
            OPENAPI,
            get(move |OriginalUri(uri): OriginalUri| async move {
                let mut document = OpenApi::clone(&document);
                // Below a host's prefix the paths begin there.
                let prefix = uri.path().strip_suffix(OPENAPI).unwrap_or_default();
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
