//! Invitations into rooms: role rest.

use axum::extract::State;
use chat_core::model::{Invite, InviteId, Room, RoomId};
use chat_core::protocol::ErrorCode::{Forbidden, Gone, LimitReached, NotFound, RateLimited};
use chat_core::protocol::paths;
use chat_core::protocol::rest::{AcceptInvite, CreateInvite, ListQuery, Page};
use chat_core::service::Chat;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::extract::{Ids, Json, Query};
use super::problem::HttpResult;

pub(super) fn routes() -> OpenApiRouter<Chat> {
    OpenApiRouter::new()
        .routes(routes!(create_invite, list_invites))
        .routes(routes!(revoke_invite))
        .routes(routes!(accept_invite))
}

/// Make an invite
///
/// By an admin. Its token is unguessable and shown once.
#[utoipa::path(post, path = paths::INVITES, tag = "Invites", security(("bearer" = [])), request_body = CreateInvite,
    responses((status = 201, description = "The invite, with its token", body = Invite)),
    extensions(("x-error-codes" = json!([Forbidden, LimitReached]))))]
async fn create_invite(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Json(body): Json<CreateInvite>,
) -> HttpResult<(StatusCode, Json<Invite>)> {
    let invite = chat.create_invite(&caller, room, body).await?;
    Ok((StatusCode::CREATED, Json(invite)))
}

/// List a room's invites
///
/// By an admin: those that still admit someone, without tokens.
#[utoipa::path(get, path = paths::INVITES, tag = "Invites", security(("bearer" = [])), params(ListQuery),
    responses((status = 200, description = "A page, ordered by id", body = Page<Invite>)),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn list_invites(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Query(query): Query<ListQuery>,
) -> HttpResult<Json<Page<Invite>>> {
    Ok(Json(chat.invites(&caller, room, query).await?))
}

/// Revoke an invite
///
/// By an admin.
#[utoipa::path(delete, path = paths::INVITE, tag = "Invites", security(("bearer" = [])),
    responses((status = 204, description = "Done")),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn revoke_invite(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, invite)): Ids<(RoomId, InviteId)>,
) -> HttpResult<StatusCode> {
    chat.revoke_invite(&caller, room, invite).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Join a room by an invite
///
/// For a member already in it no error, and it costs no use.
#[utoipa::path(post, path = paths::ACCEPT_INVITE, tag = "Invites", security(("bearer" = [])),
    request_body = AcceptInvite, responses((status = 200, description = "The room", body = Room)),
    extensions(("x-error-codes" = json!([NotFound, Gone, LimitReached, RateLimited]))))]
async fn accept_invite(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Json(body): Json<AcceptInvite>,
) -> HttpResult<Json<Room>> {
    Ok(Json(chat.accept_invite(&caller, &body.token).await?))
}
