//! Where a webhook may go: the rules of its URL, and of the addresses behind its name.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use url::{Host, Url};

use super::PrivateTargets;
use super::address::is_public;

/// The longest URL, in characters.
pub(super) const URL_MAX_CHARS: usize = 2_048;
/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// Why a URL is no target for webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It can't be read as one.
    #[error(
        "must be an http or https URL of at most 2048 characters, without a user name or password"
    )]
    Url,
    /// An address of it is not public.
    #[error(
        "must lead to a public address, not to a loopback, private, link-local or multicast one"
    )]
    Private,
    /// Its name is not known, or the answer took too long.
    #[error("the host's name can't be resolved")]
    Unresolved,
}

impl TargetError {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Url | Self::Unresolved => "invalid",
            Self::Private => "private_address",
        }
    }
}

/// Where requests to a webhook are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL, as it is requested.
    pub url: Url,
    host: Host<String>,
    port: u16,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is no URL of the kind.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let printable = |c: char| !c.is_control() && !c.is_whitespace();
        if text.chars().count() > URL_MAX_CHARS || !text.chars().all(printable) {
            return Err(TargetError::Url);
        }
        let url = Url::parse(text).map_err(|_| TargetError::Url)?;
        if !matches!(url.scheme(), "http" | "https")
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(TargetError::Url);
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(TargetError::Url);
        };
        let host = host.to_owned();
        Ok(Self { url, host, port })
    }

    /// Whom it is for: what requests are counted under, so that no host gets too many at once.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The name to be looked up; `None` where the URL has an address.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Domain(name) => Some(name),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    /// The addresses behind it now, every one of them public unless private ones may be used. Whoever connects to these,
    /// and looks nothing up again, goes nowhere else.
    ///
    /// # Errors
    /// One of them isn't public, or the name isn't known.
    pub async fn addresses(&self, private: PrivateTargets) -> Result<Vec<SocketAddr>, TargetError> {
        let found: Vec<SocketAddr> = match &self.host {
            Host::Ipv4(v4) => vec![SocketAddr::new(IpAddr::V4(*v4), self.port)],
            Host::Ipv6(v6) => vec![SocketAddr::new(IpAddr::V6(*v6), self.port)],
            Host::Domain(name) => return resolve(name, self.port, private).await,
        };
        checked(found, private)
    }
}

/// The addresses behind a name now, as [`Target::addresses`] answers them.
///
/// # Errors
/// One of them isn't public, or the name isn't known.
pub async fn resolve(
    name: &str,
    port: u16,
    private: PrivateTargets,
) -> Result<Vec<SocketAddr>, TargetError> {
    match tokio::time::timeout(LOOKUP, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => checked(found.collect(), private),
        _ => Err(TargetError::Unresolved),
    }
}

fn checked(
    found: Vec<SocketAddr>,
    private: PrivateTargets,
) -> Result<Vec<SocketAddr>, TargetError> {
    if found.is_empty() {
        return Err(TargetError::Unresolved);
    }
    let public = found.iter().all(|address| is_public(address.ip()));
    if public || private == PrivateTargets::Allowed {
        Ok(found)
    } else {
        Err(TargetError::Private)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_another_kind_is_refused() {
        for url in [
            "",
            "example.com",
            "ftp://example.com",
            "http://",
            "https://user@example.com",
            "https://user:word@example.com",
            "https://exa mple.com",
            "https://example.com/\n",
        ] {
            assert_eq!(Target::parse(url), Err(TargetError::Url), "{url}");
        }
        let long = format!("https://example.com/{}", "a".repeat(URL_MAX_CHARS));
        assert_eq!(Target::parse(&long), Err(TargetError::Url));
    }

    #[tokio::test]
    async fn every_way_to_write_an_address_is_seen_through() {
        for url in [
            "http://127.0.0.1:80/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://%31%32%37.0.0.1/",
            "http://①②⑦.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://10.1.2.3:8080/",
            "http://[fd00::1]/",
            "http://0/",
            "http://localhost/",
            "http://LOCALHOST./",
        ] {
            let target = Target::parse(url).expect(url);
            let found = target.addresses(PrivateTargets::Refused).await;
            // A machine may not know a name with a dot at its end.
            let refused = [Err(TargetError::Private), Err(TargetError::Unresolved)];
            assert!(refused.contains(&found), "{url}: {found:?}");
        }
        let target = Target::parse("http://127.0.0.1:80/").expect("a URL");
        assert_eq!(
            target.addresses(PrivateTargets::Refused).await,
            Err(TargetError::Private)
        );
        let found = target
            .addresses(PrivateTargets::Allowed)
            .await
            .expect("private ones may be");
        assert_eq!(found, ["127.0.0.1:80".parse().expect("an address")]);
    }
}
