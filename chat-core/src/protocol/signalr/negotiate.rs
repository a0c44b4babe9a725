//! Negotiation: what a server offers before a connection is opened, `POST …/negotiate`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The newest version of negotiation: with it, the id in URLs is a secret of its own.
pub const NEGOTIATE_VERSION: i32 = 1;

/// A way to carry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// One WebSocket.
    WebSockets,
    /// Events down one response, POSTs up.
    ServerSentEvents,
    /// Polls down, POSTs up.
    LongPolling,
}

impl Transport {
    /// What it can carry, in the order in which it is offered.
    #[must_use]
    pub const fn transfer_formats(self) -> &'static [TransferFormat] {
        match self {
            Self::WebSockets | Self::LongPolling => &[TransferFormat::Text, TransferFormat::Binary],
            Self::ServerSentEvents => &[TransferFormat::Text],
        }
    }
}

/// What a transport carries, and what an encoding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TransferFormat {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl fmt::Display for TransferFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a client asks for in the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NegotiateRequest {
    /// The version to answer in, 0 or 1.
    pub version: i32,
    /// Whether it would resume a cut connection.
    pub stateful_reconnect: bool,
}

impl NegotiateRequest {
    /// Reads the decoded pairs of a query. Keys are compared in any case; unknown ones are the user's own.
    ///
    /// # Errors
    ///
    /// [`NegotiateError`], to be answered as [`NegotiateResponse::Error`], with status 200.
    pub fn from_query<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, NegotiateError> {
        let mut request = Self::default();
        for (key, value) in pairs {
            let (key, value) = (key.as_ref(), value.as_ref());
            if key.eq_ignore_ascii_case("negotiateVersion") {
                let asked: i32 = value
                    .trim()
                    .parse()
                    .map_err(|_| NegotiateError::NonInteger)?;
                if asked < 0 {
                    return Err(NegotiateError::Unsupported(asked));
                }
                request.version = asked.min(NEGOTIATE_VERSION);
            } else if key.eq_ignore_ascii_case("useStatefulReconnect") {
                request.stateful_reconnect = value.trim().eq_ignore_ascii_case("true");
            }
        }
        Ok(request)
    }
}

/// Why negotiation failed, in the words that ASP.NET Core uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiateError {
    /// `negotiateVersion` is not an integer.
    #[error("The client requested a non-integer protocol version.")]
    NonInteger,
    /// `negotiateVersion` is below the first.
    #[error("The client requested version '{0}', but the server does not support this version.")]
    Unsupported(i32),
}

/// The answer to a negotiation, always with status 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Members")]
pub enum NegotiateResponse {
    /// Connect here.
    Offer(Offer),
    /// Negotiate there.
    Redirect(Redirect),
    /// Give up.
    Error {
        /// Why.
        error: String,
    },
}

impl From<NegotiateError> for NegotiateResponse {
    fn from(e: NegotiateError) -> Self {
        Self::Error {
            error: e.to_string(),
        }
    }
}

/// What a server offers.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The version of this answer.
    pub negotiate_version: i32,
    /// The connection's public name.
    pub connection_id: String,
    /// Opens the connection: a secret. In version 0 there is none, and the connection's id opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_token: Option<String>,
    /// Whether a cut connection can be resumed; only if asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_stateful_reconnect: bool,
    /// The ways to connect, the best first.
    pub available_transports: Vec<AvailableTransport>,
}

impl Offer {
    /// The `id` of all URLs that follow.
    #[must_use]
    pub fn id(&self) -> &str {
        self.connection_token
            .as_deref()
            .unwrap_or(&self.connection_id)
    }
}

impl fmt::Debug for Offer {
    // In version 0 the connection's id is the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("negotiate_version", &self.negotiate_version)
            .field("use_stateful_reconnect", &self.use_stateful_reconnect)
            .field("available_transports", &self.available_transports)
            .finish_non_exhaustive()
    }
}

/// Where to negotiate instead.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// The hub's URL there.
    pub url: String,
    /// The bearer token to use there; absent: the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
}

impl fmt::Debug for Redirect {
    // A URL may carry a token as well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirect").finish_non_exhaustive()
    }
}

/// A transport and what it can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AvailableTransport {
    /// The transport.
    pub transport: Transport,
    /// What it can carry.
    pub transfer_formats: Vec<TransferFormat>,
}

impl From<Transport> for AvailableTransport {
    fn from(transport: Transport) -> Self {
        Self {
            transport,
            transfer_formats: transport.transfer_formats().to_vec(),
        }
    }
}

/// An answer as it is read: any member may be missing, and names may be new.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    error: Option<String>,
    url: Option<String>,
    access_token: Option<String>,
    negotiate_version: Option<i32>,
    connection_id: Option<String>,
    connection_token: Option<String>,
    use_stateful_reconnect: Option<bool>,
    available_transports: Option<Vec<TransportMembers>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransportMembers {
    transport: Known<Transport>,
    transfer_formats: Vec<Known<TransferFormat>>,
}

/// A name that this version may know.
#[derive(Deserialize)]
#[serde(untagged)]
enum Known<T> {
    Yes(T),
    No(serde::de::IgnoredAny),
}

impl<T> Known<T> {
    fn into_option(self) -> Option<T> {
        match self {
            Self::Yes(known) => Some(known),
            Self::No(_) => None,
        }
    }
}

/// Why an answer to a negotiation can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer to the negotiation has no connectionId")]
struct NoConnectionId;

impl TryFrom<Members> for NegotiateResponse {
    type Error = NoConnectionId;

    fn try_from(members: Members) -> Result<Self, NoConnectionId> {
        if let Some(error) = members.error {
            return Ok(Self::Error { error });
        }
        if let Some(url) = members.url {
            return Ok(Self::Redirect(Redirect {
                url,
                access_token: members.access_token,
            }));
        }
        let negotiate_version = members.negotiate_version.unwrap_or(0);
        Ok(Self::Offer(Offer {
            negotiate_version,
            connection_id: members.connection_id.ok_or(NoConnectionId)?,
            connection_token: members.connection_token.filter(|_| negotiate_version > 0),
            use_stateful_reconnect: members.use_stateful_reconnect.unwrap_or(false),
            available_transports: members
                .available_transports
                .unwrap_or_default()
                .into_iter()
                .filter_map(|t| {
                    Some(AvailableTransport {
                        transport: t.transport.into_option()?,
                        transfer_formats: t
                            .transfer_formats
                            .into_iter()
                            .filter_map(Known::into_option)
                            .collect(),
                    })
                })
                .collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(version: i32) -> Offer {
        Offer {
            negotiate_version: version,
            connection_id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            connection_token: (version > 0).then(|| "BBBBBBBBBBBBBBBBBBBBBB".to_owned()),
            use_stateful_reconnect: false,
            available_transports: vec![
                Transport::WebSockets.into(),
                Transport::ServerSentEvents.into(),
                Transport::LongPolling.into(),
            ],
        }
    }

    fn json(response: &NegotiateResponse) -> String {
        serde_json::to_string(response).expect("a wire type")
    }

    #[test]
    fn the_version_asked_for_is_lowered_to_the_newest() {
        let version = |value| NegotiateRequest::from_query([("negotiateVersion", value)]);
        for (value, answered) in [("0", 0), ("1", 1), ("2", 1), ("7", 1), (" +1 ", 1)] {
            assert_eq!(version(value).expect(value).version, answered);
        }
        for value in ["", "x", "1.0", "1e0", "99999999999"] {
            assert_eq!(
                version(value).expect_err(value).to_string(),
                "The client requested a non-integer protocol version."
            );
        }
        assert_eq!(
            version("-1").expect_err("too low").to_string(),
            "The client requested version '-1', but the server does not support this version."
        );
    }

    #[test]
    fn keys_are_compared_in_any_case_and_unknown_ones_ignored() {
        let query = [
            ("NEGOTIATEVERSION", "1"),
            ("useStatefulReconnect", "True"),
            ("id", "stale"),
        ];
        let request = NegotiateRequest::from_query(query).expect("sound");
        assert_eq!(
            request,
            NegotiateRequest {
                version: 1,
                stateful_reconnect: true
            }
        );
        let none: [(&str, &str); 0] = [];
        assert_eq!(
            NegotiateRequest::from_query(none),
            Ok(NegotiateRequest::default())
        );
        let no = NegotiateRequest::from_query([("useStatefulReconnect", "1")]).expect("sound");
        assert!(!no.stateful_reconnect);
    }

    #[test]
    fn answers_are_written_as_the_protocol_has_them() {
        let transports = r#""availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]},{"transport":"ServerSentEvents","transferFormats":["Text"]},{"transport":"LongPolling","transferFormats":["Text","Binary"]}]}"#;
        assert_eq!(
            json(&NegotiateResponse::Offer(offer(1))),
            format!(
                r#"{{"negotiateVersion":1,"connectionId":"AAAAAAAAAAAAAAAAAAAAAA","connectionToken":"BBBBBBBBBBBBBBBBBBBBBB",{transports}"#
            )
        );
        assert_eq!(
            json(&NegotiateResponse::Offer(offer(0))),
            format!(
                r#"{{"negotiateVersion":0,"connectionId":"AAAAAAAAAAAAAAAAAAAAAA",{transports}"#
            )
        );
        let stateful = Offer {
            use_stateful_reconnect: true,
            available_transports: vec![Transport::WebSockets.into()],
            ..offer(1)
        };
        assert_eq!(
            json(&NegotiateResponse::Offer(stateful)),
            r#"{"negotiateVersion":1,"connectionId":"AAAAAAAAAAAAAAAAAAAAAA","connectionToken":"BBBBBBBBBBBBBBBBBBBBBB","useStatefulReconnect":true,"availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}"#
        );
        assert_eq!(
            json(&NegotiateError::NonInteger.into()),
            r#"{"error":"The client requested a non-integer protocol version."}"#
        );
        let redirect = Redirect {
            url: "https://other/hub".to_owned(),
            access_token: None,
        };
        assert_eq!(
            json(&NegotiateResponse::Redirect(redirect)),
            r#"{"url":"https://other/hub"}"#
        );
    }

    #[test]
    fn answers_are_read_whatever_else_they_have() {
        for response in [
            NegotiateResponse::Offer(offer(1)),
            NegotiateResponse::Offer(offer(0)),
            NegotiateResponse::Redirect(Redirect {
                url: "https://other/hub".to_owned(),
                access_token: Some("t".to_owned()),
            }),
            NegotiateError::Unsupported(-1).into(),
        ] {
            let read: NegotiateResponse = serde_json::from_str(&json(&response)).expect("own");
            assert_eq!(read, response);
        }
        let read: NegotiateResponse = serde_json::from_str(
            r#"{"connectionId":"c","connectionToken":"ignored","error":null,"more":1,"availableTransports":[{"transport":"WebTransport","transferFormats":["Text"]},{"transport":"WebSockets","transferFormats":["Text","Morse"]}]}"#,
        )
        .expect("an offer");
        let NegotiateResponse::Offer(offer) = read else {
            panic!("not an offer");
        };
        assert_eq!((offer.negotiate_version, offer.id()), (0, "c"));
        assert_eq!(
            offer.available_transports,
            [AvailableTransport {
                transport: Transport::WebSockets,
                transfer_formats: vec![TransferFormat::Text],
            }]
        );
        assert!(serde_json::from_str::<NegotiateResponse>("{}").is_err());
    }

    #[test]
    fn what_opens_a_connection_is_not_in_debug() {
        let redirect = Redirect {
            url: "https://other/hub?access_token=s3cret".to_owned(),
            access_token: Some("s3cret".to_owned()),
        };
        let text = format!("{:?} {redirect:?}", NegotiateResponse::Offer(offer(1)));
        assert!(!text.contains("BBBB") && !text.contains("s3cret"), "{text}");
    }
}
