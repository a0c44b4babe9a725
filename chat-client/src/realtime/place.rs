//! Where the requests of a connection go, and as whom.

use std::sync::Arc;

use bytes::Bytes;
use chat_core::protocol::HubError;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use crate::error::{Error, Refusal, Result};
use crate::http::{Http, bearer};

/// The hub's address, once a connection is negotiated with the `id` that opens it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) http: Arc<Http>,
    pub(crate) url: Url,
    pub(crate) access_token: String,
}

impl Place {
    /// A request to it.
    pub(crate) fn request(&self, method: Method) -> Result<RequestBuilder> {
        let request = self.http.client()?.request(method, self.url.clone());
        Ok(request.header(AUTHORIZATION, bearer(&self.access_token)?))
    }

    /// Reads an answer whole, which is an error if it is no success.
    pub(crate) async fn read(&self, response: Response) -> Result<(StatusCode, Bytes)> {
        let status = response.status();
        let headers = response.headers().clone();
        let body = self.http.read(response).await?;
        if status.is_success() {
            Ok((status, body))
        } else {
            Err(self.refusal(status, &headers, &body))
        }
    }

    /// A refusal on a hub path: one line `<code>: <detail>`.
    pub(crate) fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Error {
        let mut refusal = self.http.refusal(status, headers, body);
        let is_text = headers
            .get(CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().starts_with(b"text/plain"));
        if is_text && let Ok(text) = std::str::from_utf8(body) {
            let said = HubError::parse(text.trim_end());
            if said.code.is_some() {
                refusal = Refusal {
                    code: said.code,
                    detail: said.detail,
                    retry_after: refusal.retry_after.or(said.retry_after),
                    ..refusal
                };
            }
        }
        refusal.into()
    }
}
