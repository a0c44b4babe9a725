//! The way to the hub: negotiation, then the first transport that can be had.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use chat_core::protocol::paths;
use chat_core::protocol::signalr::negotiate::{
    AvailableTransport, NEGOTIATE_VERSION, NegotiateResponse, Offer, Redirect, TransferFormat,
    Transport as TransportKind,
};
use futures_util::{Sink, Stream};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, Url};

use super::place::Place;
use super::transport::Transport;
use super::{long_polling, server_sent_events, upgrade};
use crate::error::{Error, Result};
use crate::http::{Http, below, decode, unreachable};

/// How often the server may send the client elsewhere, as in the official clients.
const REDIRECTS: usize = 100;

/// Opens the transport of a hub connection. An application gives its own to connect in another way than over the network:
/// in one process with the server, or through a tunnel.
#[async_trait]
pub trait Connector: Send + Sync + fmt::Debug {
    /// Opens a new transport to the hub under this access token, up to where the hub protocol's handshake begins.
    ///
    /// # Errors
    /// [`Error::Refused`] when the server answered; with status 401 the client tries again with a renewed token.
    /// [`Error::Unreachable`] or [`Error::Timeout`] when it didn't.
    async fn connect(&self, access_token: &str) -> Result<Box<dyn Transport>>;

    /// Whether the next [`connect`](Self::connect) would open another kind of transport than one that carried nothing:
    /// then it is called at once, instead of after a pause.
    fn has_other_way(&self) -> bool {
        false
    }
}

/// Connects over HTTP.
#[derive(Debug)]
pub(crate) struct HttpConnector {
    http: Arc<Http>,
    negotiate: bool,
    format: TransferFormat,
    /// The transports allowed.
    allowed: Vec<TransportKind>,
    ways: Arc<Ways>,
}

#[async_trait]
impl Connector for HttpConnector {
    async fn connect(&self, access_token: &str) -> Result<Box<dyn Transport>> {
        let hub = Place {
            http: Arc::clone(&self.http),
            url: below(self.http.server(), paths::HUB),
            access_token: access_token.to_owned(),
        };
        if !self.negotiate {
            return upgrade::open(&hub, self.format).await;
        }
        let opened = self.open_one_of(hub).await;
        if opened.is_err() {
            self.ways.begin_anew();
        }
        opened
    }

    fn has_other_way(&self) -> bool {
        self.ways.has_other()
    }
}

/// Whether another transport would fare no better: the hub itself said no, but for an id that it doesn't know, as where
/// requests don't all come to one node.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Refused(refusal) => {
            refusal.status == 401 || refusal.code.is_some() && refusal.status != 404
        }
        Error::BadOption(_) => true,
        _ => false,
    }
}

fn nothing_fits() -> Error {
    Error::malformed("it offers no transport that is allowed and carries this encoding")
}

impl HttpConnector {
    /// Connects to carry records of this format, over one of these transports; without negotiation over a WebSocket.
    pub(crate) fn new(
        http: Arc<Http>,
        negotiate: bool,
        format: TransferFormat,
        allowed: Vec<TransportKind>,
    ) -> Self {
        Self {
            http,
            negotiate,
            format,
            allowed,
            ways: Arc::default(),
        }
    }

    /// Those of the offered transports that can be used, in the server's order.
    fn fitting(&self, offer: &Offer) -> Result<Vec<TransportKind>> {
        let fits = |offered: &&AvailableTransport| {
            self.allowed.contains(&offered.transport)
                && offered.transfer_formats.contains(&self.format)
        };
        let offered = offer.available_transports.iter().filter(fits);
        let kinds: Vec<_> = offered.map(|offered| offered.transport).collect();
        if kinds.is_empty() {
            return Err(nothing_fits());
        }
        Ok(kinds)
    }

    /// Opens the first transport that can be had.
    async fn open_one_of(&self, hub: Place) -> Result<Box<dyn Transport>> {
        let (mut place, mut offer) = self.negotiate(hub.clone()).await?;
        let kinds = self.ways.order(self.fitting(&offer)?);
        let mut first_error = None;
        for (n, kind) in kinds.into_iter().enumerate() {
            if n > 0 {
                // What was negotiated is used up by the transport that failed.
                (place, offer) = self.negotiate(hub.clone()).await?;
                if !self.fitting(&offer)?.contains(&kind) {
                    continue;
                }
            }
            place.url.query_pairs_mut().append_pair("id", offer.id());
            match self.open(kind, &place).await {
                Ok(transport) => {
                    return Ok(Box::new(Watched {
                        transport,
                        kind,
                        ways: Arc::clone(&self.ways),
                        is_heard: false,
                    }));
                }
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    self.ways.failed(kind);
                    tracing::info!(
                        ?kind,
                        error = &error as &dyn std::error::Error,
                        "this transport can't be had"
                    );
                    first_error.get_or_insert(error);
                }
            }
        }
        // The best transport's says most.
        Err(first_error.unwrap_or_else(nothing_fits))
    }

    async fn open(&self, kind: TransportKind, place: &Place) -> Result<Box<dyn Transport>> {
        match kind {
            TransportKind::WebSockets => upgrade::open(place, self.format).await,
            TransportKind::ServerSentEvents => server_sent_events::open(place).await,
            TransportKind::LongPolling => long_polling::open(place, self.format).await,
        }
    }

    /// Asks where to connect, following the server's directions.
    async fn negotiate(&self, mut place: Place) -> Result<(Place, Offer)> {
        for _ in 0..=REDIRECTS {
            match negotiate_at(&place).await? {
                NegotiateResponse::Offer(offer) => {
                    if offer.use_stateful_reconnect {
                        return Err(Error::malformed(
                            "it grants a stateful reconnect that wasn't asked for",
                        ));
                    }
                    return Ok((place, offer));
                }
                NegotiateResponse::Redirect(redirect) => follow(&mut place, redirect)?,
                NegotiateResponse::Error { error } => {
                    return Err(Error::malformed(format!("negotiation failed: {error}")));
                }
            }
        }
        Err(Error::malformed("it sends the client around in circles"))
    }
}

async fn negotiate_at(place: &Place) -> Result<NegotiateResponse> {
    let mut at = place.clone();
    at.url = below(&place.url, "/negotiate");
    at.url
        .query_pairs_mut()
        .append_pair("negotiateVersion", &NEGOTIATE_VERSION.to_string());
    let request = at.request(Method::POST)?.header(CONTENT_LENGTH, 0);
    let answer = at.http.within_timeout(async {
        let response = request.send().await.map_err(unreachable)?;
        at.read(response).await
    });
    let (_, body) = answer.await?;
    decode(&body)
}

/// Which transports have been tried in vain: they couldn't be opened, or carried nothing.
#[derive(Debug, Default)]
struct Ways(Mutex<Tried>);

#[derive(Debug, Default)]
struct Tried {
    fitting: Vec<TransportKind>,
    failed: Vec<TransportKind>,
}

impl Ways {
    fn lock(&self) -> MutexGuard<'_, Tried> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These transports, in the order in which to try them: those tried in vain, last.
    fn order(&self, fitting: Vec<TransportKind>) -> Vec<TransportKind> {
        let mut tried = self.lock();
        tried.fitting.clone_from(&fitting);
        if !tried.has_other() {
            // A new round.
            tried.failed.clear();
        }
        let (mut kinds, last): (Vec<_>, Vec<_>) = fitting
            .into_iter()
            .partition(|kind| !tried.failed.contains(kind));
        kinds.extend(last);
        kinds
    }

    fn has_other(&self) -> bool {
        self.lock().has_other()
    }

    /// After something came over one of them, or when none can be opened, the next connection begins with the best again.
    fn begin_anew(&self) {
        self.lock().failed.clear();
    }

    fn failed(&self, kind: TransportKind) {
        let mut tried = self.lock();
        if !tried.failed.contains(&kind) {
            tried.failed.push(kind);
        }
    }
}

impl Tried {
    fn has_other(&self) -> bool {
        self.fitting.iter().any(|kind| !self.failed.contains(kind))
    }
}

/// A transport that remembers if nothing came over it.
struct Watched {
    transport: Box<dyn Transport>,
    kind: TransportKind,
    ways: Arc<Ways>,
    is_heard: bool,
}

impl Transport for Watched {
    fn is_kept_alive(&self) -> bool {
        self.transport.is_kept_alive()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.is_heard {
            self.ways.failed(self.kind);
        }
    }
}

impl Stream for Watched {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let came = ready!(Pin::new(&mut *self.transport).poll_next(cx));
        if !self.is_heard && matches!(came, Some(Ok(_))) {
            self.is_heard = true;
            self.ways.begin_anew();
        }
        Poll::Ready(came)
    }
}

impl Sink<Bytes> for Watched {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, record: Bytes) -> io::Result<()> {
        Pin::new(&mut *self.transport).start_send(record)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport).poll_close(cx)
    }
}

/// Goes where the server sends us, but neither to a less safe place, nor with this server's token to another one.
fn follow(place: &mut Place, redirect: Redirect) -> Result<()> {
    let url = Url::parse(&redirect.url)
        .map_err(|e| Error::undecodable("it sends the client to what is no URL", e))?;
    let safe = url.scheme() == "https" || url.scheme() == "http" && place.url.scheme() == "http";
    if !safe {
        return Err(Error::malformed(
            "it sends the client to a place without TLS",
        ));
    }
    match redirect.access_token {
        Some(token) => place.access_token = token,
        None if url.origin() == place.url.origin() => {}
        None => {
            return Err(Error::malformed(
                "it sends the client to another host without a token for it",
            ));
        }
    }
    place.url = url;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        let url = Url::parse(url).expect("a URL");
        Place {
            http: Arc::new(Http::new(crate::options::Options::new(url.clone()))),
            url,
            access_token: "ours".into(),
        }
    }

    fn redirect(url: &str, token: Option<&str>) -> Redirect {
        Redirect {
            url: url.into(),
            access_token: token.map(str::to_owned),
        }
    }

    #[test]
    fn our_token_goes_to_no_other_host() {
        let mut here = place("https://a.example/v1/hub");
        assert!(follow(&mut here, redirect("https://b.example/hub", None)).is_err());
        assert!(follow(&mut here, redirect("https://a.example/other", None)).is_ok());
        assert!(follow(&mut here, redirect("https://b.example/hub", Some("theirs"))).is_ok());
        assert_eq!(here.access_token, "theirs");
    }

    #[test]
    fn a_safe_connection_stays_safe() {
        let mut here = place("https://a.example/v1/hub");
        assert!(follow(&mut here, redirect("http://a.example/hub", Some("t"))).is_err());
    }
}
