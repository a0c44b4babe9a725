//! From text to value, one function a form. Each says no more than whether it is one; what is allowed instead stands at
//! the key.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::http::Origin;

/// A host and a port, not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port; 0 picks one when listened on.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest.strip_suffix(']').ok_or(())?;
                host.parse::<Ipv6Addr>().map_err(|_| ())?;
                host
            }
            None => host,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !(host.contains(':') || host.chars().all(is_name)) {
            return Err(());
        }
        if host.contains(':') && !text.starts_with('[') {
            return Err(());
        }
        Ok(Self {
            host: host.to_owned(),
            port: number(port, 0..=u16::MAX)?,
        })
    }
}

/// A decimal number within bounds, without sign.
pub(super) fn number<T>(text: &str, bounds: RangeInclusive<T>) -> Result<T, ()>
where
    T: FromStr + PartialOrd,
{
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    let n = text.parse().map_err(|_| ())?;
    if bounds.contains(&n) { Ok(n) } else { Err(()) }
}

/// Whole seconds within bounds.
pub(super) fn seconds(text: &str, bounds: RangeInclusive<u64>) -> Result<Duration, ()> {
    number(text, bounds).map(Duration::from_secs)
}

/// `on` or `off`.
pub(super) fn on_off(text: &str) -> Result<bool, ()> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(()),
    }
}

/// The items of a list; an empty text is an empty list.
pub(super) fn list<T>(text: &str, item: impl Fn(&str) -> Result<T, ()>) -> Result<Vec<T>, ()> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|part| item(part.trim())).collect()
}

/// A network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, ()> {
    match text.parse::<IpNet>() {
        Ok(net) => Ok(net),
        Err(_) => text.parse::<IpAddr>().map(IpNet::from).map_err(|_| ()),
    }
}

/// A web origin.
pub(super) fn origin(text: &str) -> Result<Origin, ()> {
    Origin::parse(text).ok_or(())
}

/// A text of 1 to 255 characters without control characters.
pub(super) fn name(text: &str) -> Result<String, ()> {
    let n = text.chars().count();
    if (1..=255).contains(&n) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}

/// The address of something that answers over HTTP, without a password in it.
pub(super) fn url(text: &str) -> Result<String, ()> {
    let url: http::Uri = text.parse().map_err(|_| ())?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority().ok_or(())?;
    if is_web && !authority.host().is_empty() && !authority.as_str().contains('@') {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}

/// A path, which isn't empty.
pub(super) fn path(text: &str) -> Result<std::path::PathBuf, ()> {
    if text.is_empty() || text.contains('\0') {
        Err(())
    } else {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:8080", "[::1]:0", "localhost:65535", "0.0.0.0:80"] {
            let address: Address = good.parse().expect(good);
            assert_eq!(address.to_string(), good);
        }
        for bad in [
            "",
            ":80",
            "8080",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[x]:80",
            "h:65536",
            "h:-1",
            "h:+1",
            "h:",
            "a b:1",
            "http://h:1",
        ] {
            assert_eq!(bad.parse::<Address>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn a_network_may_be_one_address() {
        assert_eq!(network("10.0.0.0/8").map(|n| n.prefix_len()), Ok(8));
        assert_eq!(network("::1").map(|n| n.prefix_len()), Ok(128));
        assert_eq!(network("10.0.0.0/33"), Err(()));
        assert_eq!(network("host"), Err(()));
    }
}
