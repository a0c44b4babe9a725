//! What carries a connection, from the client's side: bytes as they are pushed, and as they are sent.

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, Response};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::Api;

/// A WebSocket.
#[derive(Debug)]
pub(super) struct Socket(pub(super) WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What carries a connection.
#[derive(Debug)]
pub(super) enum Link {
    Socket(Box<Socket>),
    Requests(Requests),
}

impl Link {
    /// The next push with something in it, and whether it is binary where that can be told; `None` when nothing more comes.
    pub(super) async fn next(&mut self) -> Option<(Vec<u8>, Option<bool>)> {
        let socket = match self {
            Self::Socket(socket) => &mut socket.0,
            Self::Requests(requests) => return Some((requests.pushed.recv().await?, None)),
        };
        loop {
            match socket.next().await? {
                Ok(Message::Text(text)) => return Some((text.as_bytes().to_vec(), Some(false))),
                Ok(Message::Binary(bytes)) => return Some((bytes.to_vec(), Some(true))),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            }
        }
    }

    pub(super) async fn send(&mut self, frame: Message) -> anyhow::Result<()> {
        match self {
            Self::Socket(socket) => Ok(socket.0.send(frame).await?),
            Self::Requests(requests) => requests.post(frame.into_data().to_vec()).await,
        }
    }
}

/// A stream of events or polls, and POSTs beside it.
#[derive(Debug)]
pub(super) struct Requests {
    api: Api,
    path: String,
    pushed: mpsc::UnboundedReceiver<Vec<u8>>,
    receiving: JoinHandle<()>,
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.receiving.abort();
    }
}

impl Requests {
    /// Opens a stream of events.
    pub(super) async fn events(api: &Api, id: &str) -> anyhow::Result<Self> {
        let path = path(id);
        let stream = api
            .request(Method::GET, &path)
            .header("accept", "text/event-stream")
            .send()
            .await?;
        let stream = ok(stream).await?;
        let (push, pushed) = mpsc::unbounded_channel();
        let receiving = tokio::spawn(async move {
            // A stream that is cut is over as well.
            let _ = read_events(stream, &push).await;
        });
        Ok(Self {
            api: api.clone(),
            path,
            pushed,
            receiving,
        })
    }

    /// Begins to poll.
    pub(super) async fn polls(api: &Api, id: &str) -> anyhow::Result<Self> {
        let path = path(id);
        let first = ok(api.request(Method::GET, &path).send().await?).await?;
        ensure!(first.bytes().await?.is_empty(), "the first poll is empty");
        let (push, pushed) = mpsc::unbounded_channel();
        let receiving = tokio::spawn({
            let (api, path) = (api.clone(), path.clone());
            async move {
                while let Ok(poll) = api.request(Method::GET, &path).send().await {
                    if poll.status() != 200 {
                        return;
                    }
                    let Ok(bytes) = poll.bytes().await else {
                        return;
                    };
                    if !bytes.is_empty() && push.send(bytes.to_vec()).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self {
            api: api.clone(),
            path,
            pushed,
            receiving,
        })
    }

    async fn post(&self, body: Vec<u8>) -> anyhow::Result<()> {
        let answer = Api::send(self.api.request(Method::POST, &self.path).body(body)).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text);
        ensure!(answer.text.is_empty(), "clients parse what isn't empty");
        Ok(())
    }
}

fn path(id: &str) -> String {
    format!("/v1/hub?id={id}")
}

async fn ok(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status == 200 {
        return Ok(response);
    }
    let text = response.text().await?;
    anyhow::bail!("{status}: {text}")
}

/// Reads events to the stream's end: nothing but lines of data and comments, as .NET's client wants it.
async fn read_events(
    mut stream: Response,
    push: &mpsc::UnboundedSender<Vec<u8>>,
) -> anyhow::Result<()> {
    let mut unread = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    while let Some(bytes) = stream.chunk().await? {
        unread.extend_from_slice(&bytes);
        while let Some(end) = unread.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<u8> = unread.drain(..end + 2).take(end).collect();
            if line.is_empty() && !data.is_empty() {
                push.send(std::mem::take(&mut data))?;
            } else if !line.is_empty() && line[0] != b':' {
                let more = line.strip_prefix(b"data: ");
                data.extend_from_slice(more.context("a line of an event that isn't data")?);
            }
        }
    }
    Ok(())
}
