//! The hub: SignalR over WebSockets.

use axum::Router;
use chat_core::service::Chat;

use crate::http::Origins;

/// The routes of the hub.
pub(crate) fn routes(_chat: &Chat, _origins: &Origins) -> Router {
    Router::new()
}
