//! From an upgraded request to the session that its WebSocket is for.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::session::Opening;
use super::slot::{Carrier, Slot, Turn};
use super::websocket;
use crate::serve::{ConnectionPermit, upgrade};

/// What a new WebSocket is for.
#[derive(Debug)]
pub(super) enum Upgraded {
    /// A connection that it opens.
    Opens(Box<Opening>),
    /// One that goes on over it.
    Resumes(Arc<Slot>, Turn),
}

/// Answers an upgrade to a WebSocket (RFC 6455, section 4.2), and gives the stream to what it is for.
pub(super) fn answer(parts: &Parts, accept: &str, what: Upgraded, upgraded: OnUpgrade) -> Response {
    // The stream outlives its HTTP connection, and its place among all connections with it.
    let permit = parts.extensions.get::<ConnectionPermit>().cloned();
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let stream = upgrade::tcp(upgraded).map_err(TokioIo::new);
        match (what, stream) {
            (Upgraded::Opens(mut opening), stream) => {
                opening.permit = permit;
                match stream {
                    Ok((stream, read)) => websocket::serve_tcp(opening, stream, read).await,
                    Err(stream) => websocket::serve_stream(opening, stream).await,
                }
            }
            (Upgraded::Resumes(slot, turn), Ok((stream, read))) => {
                slot.put(Carrier::tcp(stream, read, permit), turn);
            }
            (Upgraded::Resumes(slot, turn), Err(stream)) => {
                slot.put(Carrier::stream(stream, permit), turn);
            }
        }
    });
    let headers = [
        (CONNECTION, "Upgrade"),
        (UPGRADE, "websocket"),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
