//! One attempt: a request to where it may go, signed, and what its answer means.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use chat_core::model::{Event, Timestamp};
use chat_core::service::webhooks::{PrivateTargets, Target, TargetError, resolve};
use chat_core::store::Claimed;
use http::StatusCode;
use http::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde::Serialize;

use super::signature::sign;
use crate::serve::StartError;

/// What of an answer is read, so that its connection can be used again; what it says is nobody's business.
const ANSWER_BYTES: usize = 4 * 1024;
/// How long a connection waits to be used again.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections to one host.
const IDLE_CONNECTIONS: usize = 4;

/// What a receiver gets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
    data: &'a Event,
}

/// What came of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx.
    Taken(StatusCode),
    /// 410: the receiver wants no more.
    Gone,
    /// Another status.
    Refused(StatusCode),
    /// None in time, or none at all: why, in words for the webhook's owner.
    None(String),
}

/// Makes requests, to public addresses alone unless private ones are allowed.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    client: Client,
    private: PrivateTargets,
    timeout: Duration,
}

impl Sender {
    pub(super) fn new(private: PrivateTargets, timeout: Duration) -> Result<Self, StartError> {
        let client = Client::builder()
            .dns_resolver(Checked(private))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy() // which would look names up itself
            .http1_only()
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build()
            .map_err(|e| StartError::caused("webhooks can't be delivered: ", &e))?;
        Ok(Self {
            client,
            private,
            timeout,
        })
    }

    /// Posts a delivery.
    pub(super) async fn attempt(
        &self,
        target: &Target,
        claimed: &Claimed,
        at: Timestamp,
    ) -> Answer {
        let attempt = self.post(target, claimed, at);
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Answer::None(why),
            Err(_) => Answer::None(format!("no answer within {} s", self.timeout.as_secs_f64())),
        }
    }

    async fn post(
        &self,
        target: &Target,
        claimed: &Claimed,
        at: Timestamp,
    ) -> Result<Answer, String> {
        if target.name().is_none() {
            // An address in the URL is looked up by nobody, so it is checked here.
            let checked = target.addresses(self.private).await;
            checked.map_err(|e| e.to_string())?;
        }
        let event = &claimed.event;
        // The same for a copy of the event, so that a receiver knows it again.
        let id = format!("evt_{}_{}", event.room_id(), event.seq());
        let payload = Payload {
            kind: event.kind().as_str(),
            timestamp: happened(event).unwrap_or(claimed.created_at),
            data: event,
        };
        let body = serde_json::to_string(&payload).map_err(|e| e.to_string())?;
        let timestamp = at.as_millis() / 1_000;
        let signature = sign(&claimed.secrets, &id, timestamp, &body);
        let response = self
            .client
            .post(target.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(
                USER_AGENT,
                concat!("chat-server/", env!("CARGO_PKG_VERSION")),
            )
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature)
            .body(Bytes::from(body))
            .send()
            .await
            .map_err(|e| reason(&e))?;
        let status = response.status();
        // A status is an answer, whatever becomes of the body.
        read_some(response).await;
        Ok(match status {
            StatusCode::GONE => Answer::Gone,
            status if status.is_success() => Answer::Taken(status),
            status => Answer::Refused(status),
        })
    }
}

/// When an event happened, where it says so.
fn happened(event: &Event) -> Option<Timestamp> {
    match event {
        Event::MessageCreated(message) => Some(message.sent_at),
        Event::MessageEdited(message) => message.edited_at,
        Event::MessageDeleted(message) => message.deleted_at,
        Event::MemberJoined { member, .. } => Some(member.joined_at),
        _ => None,
    }
}

async fn read_some(mut response: Response) {
    let mut read = 0;
    while read <= ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Why a request failed, without its URL, which may hold a secret.
fn reason(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut last = None;
    while let Some(e) = cause {
        if let Some(refused) = e.downcast_ref::<TargetError>() {
            return refused.to_string();
        }
        last = Some(e.to_string());
        cause = e.source();
    }
    last.unwrap_or_else(|| "the request failed".to_owned())
}

/// Looks names up, and answers addresses that may be connected to: the connection goes to one of these, so a name that leads
/// elsewhere a moment later changes nothing.
#[derive(Clone, Copy, Debug)]
struct Checked(PrivateTargets);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.0;
        Box::pin(async move {
            let found = resolve(name.as_str(), 0, private).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
