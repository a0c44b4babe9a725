//! Messages and what changed: role rest.

use axum::extract::State;
use chat_core::model::{Message, MessageId, RoomId};
use chat_core::protocol::ErrorCode::{Conflict, Forbidden, RateLimited};
use chat_core::protocol::paths;
use chat_core::protocol::rest::{
    Changes, ChangesQuery, EditMessage, HistoryQuery, Page, SendMessage,
};
use chat_core::service::Chat;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::extract::{Ids, Json, Query};
use super::problem::HttpResult;

pub(super) fn routes() -> OpenApiRouter<Chat> {
    OpenApiRouter::new()
        .routes(routes!(send_message, list_messages))
        .routes(routes!(get_message, edit_message, delete_message))
        .routes(routes!(list_changes))
}

/// Send a message
///
/// It is stored before the answer. Sending it again under its `clientMessageId` answers with what is stored.
#[utoipa::path(post, path = paths::MESSAGES, tag = "Messages", security(("bearer" = [])), request_body = SendMessage,
    responses(
        (status = 201, description = "The message", body = Message),
        (status = 200, description = "It was stored before: the message as it is now", body = Message),
    ),
    extensions(("x-error-codes" = json!([Conflict, RateLimited]))))]
async fn send_message(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Json(body): Json<SendMessage>,
) -> HttpResult<(StatusCode, Json<Message>)> {
    let sent = chat.send_message(&caller, room, body).await?;
    let status = if sent.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(sent.message)))
}

/// A page of a room's messages
///
/// The newest page without `before` and `after`. Deleted messages are left out.
#[utoipa::path(get, path = paths::MESSAGES, tag = "Messages", security(("bearer" = [])), params(HistoryQuery),
    responses((status = 200, description = "A page, oldest first", body = Page<Message>)))]
async fn list_messages(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Query(query): Query<HistoryQuery>,
) -> HttpResult<Json<Page<Message>>> {
    Ok(Json(chat.messages(&caller, room, query).await?))
}

/// One message
#[utoipa::path(get, path = paths::MESSAGE, tag = "Messages", security(("bearer" = [])),
    responses((status = 200, description = "The message", body = Message)))]
async fn get_message(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, message)): Ids<(RoomId, MessageId)>,
) -> HttpResult<Json<Message>> {
    Ok(Json(chat.message(&caller, room, message).await?))
}

/// Edit a message
///
/// By its author.
#[utoipa::path(patch, path = paths::MESSAGE, tag = "Messages", security(("bearer" = [])), request_body = EditMessage,
    responses((status = 200, description = "The message as it is now", body = Message)),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn edit_message(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, message)): Ids<(RoomId, MessageId)>,
    Json(body): Json<EditMessage>,
) -> HttpResult<Json<Message>> {
    Ok(Json(chat.edit_message(&caller, room, message, body).await?))
}

/// Delete a message
///
/// By its author or an admin.
#[utoipa::path(delete, path = paths::MESSAGE, tag = "Messages", security(("bearer" = [])),
    responses((status = 204, description = "Done")),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn delete_message(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, message)): Ids<(RoomId, MessageId)>,
) -> HttpResult<StatusCode> {
    chat.delete_message(&caller, room, message).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What changed in a room after a place
///
/// The current state of all that changed after `since`, ordered by when it last changed. `seq` is the next page's `since`.
#[utoipa::path(get, path = paths::CHANGES, tag = "Messages", security(("bearer" = [])), params(ChangesQuery),
    responses((status = 200, description = "A page", body = Changes)))]
async fn list_changes(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Query(query): Query<ChangesQuery>,
) -> HttpResult<Json<Changes>> {
    Ok(Json(chat.changes(&caller, room, query).await?))
}
