//! Web origins that may call from a browser (RFC 6454), and CORS for the REST calls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::CorsLayer;

use super::observe::REQUEST_ID;

/// A web origin, as browsers write it in the `Origin` header: `https://chat.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl Origin {
    /// Reads an origin. `None` for `*`, `null`, and what has a path or isn't `http` or `https`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://")?;
        let uri: Uri = text.parse().ok()?;
        let parsed = uri.authority()?;
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        // What a browser would never send would never match.
        let as_sent = match parsed.port_u16() {
            Some(port) if port == default_port => return None,
            Some(port) => format!("{}:{port}", parsed.host()),
            None => parsed.host().to_owned(),
        };
        if authority != as_sent || authority.is_empty() || authority.contains('*') {
            return None;
        }
        HeaderValue::from_str(&text).ok().map(Self)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// The origins that may call. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<[Origin]>);

impl Origins {
    /// Whether `origin`, a request's `Origin` header, is one of them.
    #[must_use]
    pub fn allow(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|o| o.0 == origin)
    }

    /// CORS for the REST calls; `None` when no origin is allowed.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        if self.0.is_empty() {
            return None;
        }
        Some(
            CorsLayer::new()
                .allow_origin(self.0.iter().map(|o| o.0.clone()).collect::<Vec<_>>())
                .allow_credentials(true)
                .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
                .allow_headers([
                    AUTHORIZATION,
                    CONTENT_TYPE,
                    HeaderName::from_static(REQUEST_ID),
                ])
                .expose_headers([RETRY_AFTER, HeaderName::from_static(REQUEST_ID)])
                .max_age(Duration::from_secs(3_600)),
        )
    }
}

impl FromIterator<Origin> for Origins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Self(origins.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for good in [
            "https://chat.example.com",
            "http://localhost:5173",
            "http://[::1]:3000",
        ] {
            assert_eq!(Origin::parse(good).expect(good).to_string(), good);
        }
        assert_eq!(
            Origin::parse("HTTPS://Chat.Example.com")
                .expect("folded")
                .to_string(),
            "https://chat.example.com"
        );
        for bad in [
            "",
            "*",
            "null",
            "chat.example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "https://a:443",
            "http://a:80",
            "https://*.a",
            "ftp://a",
            "https://a:",
            "https://a:x",
            "https://a:99999",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_exact_origins_are_allowed() {
        let origins: Origins = Origin::parse("https://a.example").into_iter().collect();
        assert!(origins.allow(&HeaderValue::from_static("https://a.example")));
        for other in [
            "https://b.example",
            "http://a.example",
            "https://a.example:8443",
            "null",
        ] {
            assert!(!origins.allow(&HeaderValue::from_static(other)), "{other}");
        }
    }
}
