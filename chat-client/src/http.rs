//! Requests and answers over HTTP: time-outs, size limits and repetition, without a login.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chat_core::model::{Clock, Timestamp};
use chat_core::protocol::ErrorCode;
use chat_core::protocol::error::FieldError;
use chat_core::random::Random;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Refusal, Result};
use crate::options::Options;

/// A request of the API, built without being sent.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Below the server's address, from `protocol::paths`.
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Bytes>,
    /// Whether doing it twice is the same as doing it once.
    pub(crate) repeatable: bool,
}

impl Call {
    fn new(method: Method, path: String, repeatable: bool) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            repeatable,
        }
    }

    pub(crate) fn get(path: String) -> Self {
        Self::new(Method::GET, path, true)
    }

    /// A POST is only repeated where [`repeatable`](Self::repeatable) says so.
    pub(crate) fn post(path: String) -> Self {
        Self::new(Method::POST, path, false)
    }

    pub(crate) fn patch(path: String) -> Self {
        Self::new(Method::PATCH, path, true)
    }

    pub(crate) fn delete(path: String) -> Self {
        Self::new(Method::DELETE, path, true)
    }

    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|v| (name, v.to_string())));
        self
    }

    pub(crate) fn body(mut self, body: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(body).expect("a wire type is writable as JSON");
        self.body = Some(bytes.into());
        self
    }

    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

/// Sends requests to one server.
#[derive(Debug)]
pub(crate) struct Http {
    client: OnceLock<Result<reqwest::Client>>,
    options: Options,
}

impl Http {
    pub(crate) const fn new(options: Options) -> Self {
        Self {
            client: OnceLock::new(),
            options,
        }
    }

    pub(crate) fn server(&self) -> &Url {
        &self.options.server
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.options.clock
    }

    pub(crate) const fn response_limit_bytes(&self) -> usize {
        self.options.response_limit_bytes
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.options.random
    }

    /// The HTTP client. Made when first needed: it reads the system's certificates, which a client without REST never
    /// needs.
    pub(crate) fn client(&self) -> Result<&reqwest::Client> {
        self.client
            .get_or_init(|| {
                let o = &self.options;
                let mut builder = reqwest::Client::builder()
                    .user_agent(&o.user_agent)
                    .connect_timeout(o.connect_timeout)
                    // A redirected POST would come as a GET, and a token must not follow to another host.
                    .redirect(reqwest::redirect::Policy::none())
                    .no_proxy();
                if let Some(proxy) = &o.proxy {
                    let proxy = reqwest::Proxy::all(proxy.clone())
                        .map_err(|e| Error::BadOption(format!("proxy: {}", e.without_url())))?;
                    builder = builder.proxy(proxy);
                }
                if !o.root_certificates.is_empty() {
                    builder = builder.tls_certs_merge(o.root_certificates.iter().cloned());
                }
                builder
                    .build()
                    .map_err(|e| Error::BadOption(format!("HTTP client: {e}")))
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Sends the call and reads its answer.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        call: &Call,
        token: Option<&str>,
    ) -> Result<T> {
        decode(&self.send(call, token).await?)
    }

    /// Sends the call, again where that is safe and promising, and returns the body of its success.
    pub(crate) async fn send(&self, call: &Call, token: Option<&str>) -> Result<Bytes> {
        let mut attempt = 0;
        // Whether an earlier attempt may have been carried out without its answer reaching us.
        let mut may_be_done = false;
        loop {
            let error = match self.attempt(call, token).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            if call.method == Method::DELETE
                && may_be_done
                && error.code() == Some(ErrorCode::NotFound)
            {
                return Ok(Bytes::new());
            }
            if !(call.repeatable && error.is_retryable() && attempt < self.options.retries) {
                return Err(error);
            }
            let backoff = Duration::from_millis(200) * 2_u32.saturating_pow(attempt);
            let backoff = backoff.mul_f64(0.5 + self.random().fraction());
            let wait = error.retry_after().unwrap_or_default().max(backoff);
            if wait > self.options.retry_wait {
                return Err(error);
            }
            may_be_done |= !matches!(&error, Error::Refused(r) if r.status == 429);
            tracing::debug!(
                path = call.path,
                error = &error as &dyn std::error::Error,
                ?wait,
                "trying again"
            );
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, call: &Call, token: Option<&str>) -> Result<Bytes> {
        self.within_timeout(async {
            let response = self
                .request(call, token)?
                .send()
                .await
                .map_err(unreachable)?;
            let status = response.status();
            let headers = response.headers().clone();
            let body = self.read(response).await?;
            if status.is_success() {
                Ok(body)
            } else {
                Err(self.refusal(status, &headers, &body).into())
            }
        })
        .await
    }

    /// Bounds a request and the reading of its answer.
    pub(crate) async fn within_timeout<T>(
        &self,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let limit = self.options.request_timeout;
        tokio::time::timeout(limit, request)
            .await
            .unwrap_or(Err(Error::Timeout(limit)))
    }

    fn request(&self, call: &Call, token: Option<&str>) -> Result<reqwest::RequestBuilder> {
        let mut url = below(self.server(), &call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.client()?.request(call.method.clone(), url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, bearer(token)?);
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        Ok(request)
    }

    /// Reads an answer's body, up to the limit.
    pub(crate) async fn read(&self, mut response: Response) -> Result<Bytes> {
        let limit = self.options.response_limit_bytes;
        let too_long = || Error::malformed(format!("its body has more than {limit} bytes"));
        if response.content_length().is_some_and(|n| n > limit as u64) {
            return Err(too_long());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > limit {
                return Err(too_long());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// What an unsuccessful answer says: a problem document, or what a proxy in between made.
    pub(crate) fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refusal {
        let retry_after = headers.get(RETRY_AFTER).and_then(|v| self.retry_after(v));
        let problem: Option<LenientProblem> = serde_json::from_slice(body).ok();
        let code = problem.as_ref().and_then(|p| ErrorCode::from_wire(&p.code));
        let (detail, errors) = match problem {
            Some(problem) => (problem.detail, problem.errors),
            None => (unexplained(status, headers), Vec::new()),
        };
        Refusal {
            code,
            status: status.as_u16(),
            detail,
            errors,
            retry_after,
        }
    }

    /// `Retry-After` is seconds, or a date (RFC 9110 §10.2.3).
    fn retry_after(&self, value: &HeaderValue) -> Option<Duration> {
        let text = value.to_str().ok()?;
        match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => http_date(text).map(|at| at.since(self.clock().now())),
        }
    }
}

/// A problem document as any version may write it: a code that isn't known here is still an answer.
#[derive(Deserialize)]
struct LenientProblem {
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

fn unexplained(status: StatusCode, headers: &HeaderMap) -> String {
    match headers.get(LOCATION).and_then(|v| v.to_str().ok()) {
        Some(location) if status.is_redirection() => {
            format!("the server's address redirects to {location}: use that one")
        }
        _ => format!("the server answered {status}"),
    }
}

/// Reads an HTTP date in its preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.split_once(", ")?;
    let [day, month, year, time, "GMT"] = rest.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    serde_json::from_value(format!("{year}-{month:02}-{day}T{time}Z").into()).ok()
}

/// The URL of `path` below `base`, which may have a path of its own.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

pub(crate) fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Error::BadOption("the access token can't stand in a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Error::undecodable("its body isn't as documented", e))
}

pub(crate) fn unreachable(error: reqwest::Error) -> Error {
    let error = error.without_url();
    if error.is_builder() {
        return Error::BadOption(error.to_string());
    }
    Error::Unreachable(Arc::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_in_retry_after_is_read() {
        assert_eq!(
            http_date("Sat, 31 Jan 2026 12:00:00 GMT"),
            Some(Timestamp::from_millis(1_769_860_800_000))
        );
        assert_eq!(http_date("tomorrow, maybe"), None);
    }

    #[test]
    fn a_path_goes_below_the_servers_own() {
        let base = Url::parse("https://chat.example/api").expect("a URL");
        assert_eq!(
            below(&base, "/v1/rooms").as_str(),
            "https://chat.example/api/v1/rooms"
        );
    }
}
