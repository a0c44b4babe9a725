//! The stream under an upgraded request.

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::net::TcpStream;

use super::watch::Watched;

/// Takes the TCP stream out of hyper, with what was read beyond the request: from then on nothing stands between it and
/// whoever writes to it. Gives back what isn't plain TCP, TLS above all.
///
/// # Errors
/// The upgraded request, if there is no TCP stream right under it.
pub(crate) fn tcp(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    let upgraded = match downcast::<TokioIo<Watched<TcpStream>>>(upgraded) {
        Ok(parts) => return Ok((parts.io.into_inner().into_inner(), parts.read_buf)),
        Err(upgraded) => upgraded,
    };
    // As axum's own server has it, under which an embedder may run.
    let parts = downcast::<TokioIo<TcpStream>>(upgraded)?;
    Ok((parts.io.into_inner(), parts.read_buf))
}
