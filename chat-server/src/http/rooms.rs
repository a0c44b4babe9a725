//! Rooms and their members: role rest.

use axum::extract::State;
use chat_core::auth;
use chat_core::model::{Member, Room, RoomId, UserId};
use chat_core::protocol::ErrorCode::{Conflict, Forbidden, LimitReached};
use chat_core::protocol::paths;
use chat_core::protocol::rest::{ListQuery, Page, RemoveMemberQuery, RoomName, SetRole};
use chat_core::service::Chat;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::extract::{Ids, Json, Query};
use super::problem::HttpResult;

pub(super) fn routes() -> OpenApiRouter<Chat> {
    OpenApiRouter::new()
        .routes(routes!(create_room, list_rooms))
        .routes(routes!(get_room, rename_room, delete_room))
        .routes(routes!(list_members))
        .routes(routes!(leave_room))
        .routes(routes!(set_role, remove_member))
}

/// Make a room
///
/// The caller is its admin, and the room stands at `seq` 1.
#[utoipa::path(post, path = paths::ROOMS, tag = "Rooms", security(("bearer" = [])), request_body = RoomName,
    responses((status = 201, description = "The room", body = Room)),
    extensions(("x-error-codes" = json!([LimitReached]))))]
async fn create_room(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Json(body): Json<RoomName>,
) -> HttpResult<(StatusCode, Json<Room>)> {
    let room = chat.create_room(&caller, &body.name).await?;
    Ok((StatusCode::CREATED, Json(room)))
}

/// List the caller's rooms
#[utoipa::path(get, path = paths::ROOMS, tag = "Rooms", security(("bearer" = [])), params(ListQuery),
    responses((status = 200, description = "A page, ordered by id", body = Page<Room>)))]
async fn list_rooms(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Query(query): Query<ListQuery>,
) -> HttpResult<Json<Page<Room>>> {
    Ok(Json(chat.rooms(&caller, query).await?))
}

/// One room
///
/// By a member.
#[utoipa::path(get, path = paths::ROOM, tag = "Rooms", security(("bearer" = [])),
    responses((status = 200, description = "The room", body = Room)))]
async fn get_room(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
) -> HttpResult<Json<Room>> {
    Ok(Json(chat.room(&caller, room).await?))
}

/// Rename a room
///
/// By an admin.
#[utoipa::path(patch, path = paths::ROOM, tag = "Rooms", security(("bearer" = [])), request_body = RoomName,
    responses((status = 200, description = "The room as it is now", body = Room)),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn rename_room(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Json(body): Json<RoomName>,
) -> HttpResult<Json<Room>> {
    Ok(Json(chat.rename_room(&caller, room, &body.name).await?))
}

/// Delete a room
///
/// By an admin.
#[utoipa::path(delete, path = paths::ROOM, tag = "Rooms", security(("bearer" = [])),
    responses((status = 204, description = "Done")),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn delete_room(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
) -> HttpResult<StatusCode> {
    chat.delete_room(&caller, room).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List a room's members
#[utoipa::path(get, path = paths::MEMBERS, tag = "Members", security(("bearer" = [])), params(ListQuery),
    responses((status = 200, description = "A page, ordered by user id", body = Page<Member>)))]
async fn list_members(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Query(query): Query<ListQuery>,
) -> HttpResult<Json<Page<Member>>> {
    Ok(Json(chat.members(&caller, room, query).await?))
}

/// Give a member a role
///
/// By an admin. No one demotes another admin; one may step down unless the last.
#[utoipa::path(patch, path = paths::MEMBER, tag = "Members", security(("bearer" = [])), request_body = SetRole,
    responses((status = 200, description = "The member as it is now", body = Member)),
    extensions(("x-error-codes" = json!([Forbidden, Conflict]))))]
async fn set_role(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, user)): Ids<(RoomId, UserId)>,
    Json(body): Json<SetRole>,
) -> HttpResult<Json<Member>> {
    Ok(Json(chat.set_role(&caller, room, user, body.role).await?))
}

/// Remove a member, or leave
///
/// Anyone leaves; an admin removes a member but not another admin. The last one out deletes the room; when the last admin
/// leaves, all who remain become admins.
#[utoipa::path(delete, path = paths::MEMBER, tag = "Members", security(("bearer" = [])), params(RemoveMemberQuery),
    responses((status = 204, description = "Done")),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn remove_member(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, user)): Ids<(RoomId, UserId)>,
    Query(query): Query<RemoveMemberQuery>,
) -> HttpResult<StatusCode> {
    remove(&chat, &caller, room, user, query).await
}

/// Leave a room
#[utoipa::path(delete, path = paths::MEMBER_ME, tag = "Members", security(("bearer" = [])), params(RemoveMemberQuery),
    responses((status = 204, description = "Done")))]
async fn leave_room(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Query(query): Query<RemoveMemberQuery>,
) -> HttpResult<StatusCode> {
    remove(&chat, &caller, room, caller.user_id, query).await
}

async fn remove(
    chat: &Chat,
    caller: &auth::Caller,
    room: RoomId,
    user: UserId,
    query: RemoveMemberQuery,
) -> HttpResult<StatusCode> {
    chat.remove_member(caller, room, user, query.delete_messages)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
