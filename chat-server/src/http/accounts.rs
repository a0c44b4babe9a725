//! Accounts, sessions and tokens: role auth.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chat_core::model::{Session, SessionId, User, UserId};
use chat_core::protocol::ErrorCode::{
    Conflict, EmailTaken, InvalidCredentials, InvalidRefreshToken, NotFound, RateLimited,
    UsernameTaken,
};
use chat_core::protocol::paths;
use chat_core::protocol::rest::{
    ChangePassword, DeleteAccount, DeleteAccountQuery, JwkSet, ListQuery, Login, Page, Refresh,
    Register, Tokens, UpdateUser,
};
use chat_core::service::accounts::AccountService;
use chat_core::service::{Chat, Error};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::client_address::ClientAddress;
use super::extract::{Ids, Json, Query};
use super::problem::{HttpError, HttpResult};

/// The calls of a server that signs people in itself.
pub(super) fn routes() -> OpenApiRouter<Chat> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh_tokens))
        .routes(routes!(logout))
        .routes(routes!(change_password))
        .routes(routes!(list_sessions))
        .routes(routes!(end_session))
        .routes(routes!(get_me, update_me, delete_me))
        .routes(routes!(get_jwks))
}

/// What others may see of a user, whoever signs people in.
pub(super) fn profile_routes() -> OpenApiRouter<Chat> {
    OpenApiRouter::new().routes(routes!(get_user))
}

fn accounts(chat: &Chat) -> Result<&AccountService, HttpError> {
    // The routes are mounted where there are accounts.
    chat.accounts().ok_or_else(|| Error::not_found().into())
}

/// Make an account
#[utoipa::path(post, path = paths::REGISTER, tag = "Accounts", request_body = Register,
    responses((status = 201, description = "The account", body = User)),
    extensions(("x-error-codes" = json!([EmailTaken, UsernameTaken, RateLimited]))))]
async fn register(
    State(chat): State<Chat>,
    ClientAddress(address): ClientAddress,
    Json(body): Json<Register>,
) -> HttpResult<(StatusCode, Json<User>)> {
    let user = accounts(&chat)?.register(body, address).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Log in
///
/// Begins a session. An unknown e-mail address and a wrong password look alike.
#[utoipa::path(post, path = paths::LOGIN, tag = "Accounts", request_body = Login,
    responses((status = 200, description = "The session's tokens", body = Tokens)),
    extensions(("x-error-codes" = json!([InvalidCredentials, RateLimited]))))]
async fn login(
    State(chat): State<Chat>,
    ClientAddress(address): ClientAddress,
    Json(body): Json<Login>,
) -> HttpResult<Json<Tokens>> {
    Ok(Json(accounts(&chat)?.login(body, address).await?))
}

/// Rotate the tokens
///
/// The refresh token used last, sent again within 60 s, answers with the same successor; any older one, or later, ends
/// the session.
#[utoipa::path(post, path = paths::REFRESH, tag = "Accounts", request_body = Refresh,
    responses((status = 200, description = "The session's next tokens", body = Tokens)),
    extensions(("x-error-codes" = json!([InvalidRefreshToken]))))]
async fn refresh_tokens(
    State(chat): State<Chat>,
    Json(body): Json<Refresh>,
) -> HttpResult<Json<Tokens>> {
    Ok(Json(accounts(&chat)?.refresh(body).await?))
}

/// End the session
///
/// Its tokens and sockets end.
#[utoipa::path(post, path = paths::LOGOUT, tag = "Accounts", security(("bearer" = [])),
    responses((status = 204, description = "Done")))]
async fn logout(State(chat): State<Chat>, Caller(caller): Caller) -> HttpResult<StatusCode> {
    accounts(&chat)?.logout(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change the password
///
/// Every other session ends.
#[utoipa::path(post, path = paths::PASSWORD, tag = "Accounts", security(("bearer" = [])),
    request_body = ChangePassword, responses((status = 204, description = "Done")),
    extensions(("x-error-codes" = json!([RateLimited])), ("x-wrong-password" = json!(true))))]
async fn change_password(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    ClientAddress(address): ClientAddress,
    Json(body): Json<ChangePassword>,
) -> HttpResult<StatusCode> {
    accounts(&chat)?
        .change_password(&caller, body, address)
        .await
        .map_err(HttpError::of_signed_in)?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the caller's sessions
#[utoipa::path(get, path = paths::SESSIONS, tag = "Accounts", security(("bearer" = [])), params(ListQuery),
    responses((status = 200, description = "A page, ordered by id", body = Page<Session>)))]
async fn list_sessions(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Query(query): Query<ListQuery>,
) -> HttpResult<Json<Page<Session>>> {
    Ok(Json(accounts(&chat)?.sessions(&caller, query).await?))
}

/// End one of the caller's sessions
#[utoipa::path(delete, path = paths::SESSION, tag = "Accounts", security(("bearer" = [])),
    responses((status = 204, description = "Done")))]
async fn end_session(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(session): Ids<SessionId>,
) -> HttpResult<StatusCode> {
    accounts(&chat)?.end_session(&caller, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller
#[utoipa::path(get, path = paths::ME, tag = "Users", security(("bearer" = [])),
    responses((status = 200, description = "The caller, with the e-mail address", body = User)))]
async fn get_me(State(chat): State<Chat>, Caller(caller): Caller) -> HttpResult<Json<User>> {
    Ok(Json(accounts(&chat)?.me(&caller).await?))
}

/// Change the caller's username
///
/// A `MemberChanged` follows in each of the user's rooms.
#[utoipa::path(patch, path = paths::ME, tag = "Users", security(("bearer" = [])), request_body = UpdateUser,
    responses((status = 200, description = "The caller as it is now", body = User)),
    extensions(("x-error-codes" = json!([UsernameTaken]))))]
async fn update_me(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Json(body): Json<UpdateUser>,
) -> HttpResult<Json<User>> {
    Ok(Json(accounts(&chat)?.update_user(&caller, body).await?))
}

/// Delete the caller's account
///
/// Account and sessions end with the answer, memberships follow. Messages stay, or go too with `eraseMessages`.
#[utoipa::path(delete, path = paths::ME, tag = "Users", security(("bearer" = [])), params(DeleteAccountQuery),
    request_body = DeleteAccount, responses((status = 204, description = "Done")),
    extensions(("x-error-codes" = json!([RateLimited, Conflict])), ("x-wrong-password" = json!(true))))]
async fn delete_me(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    ClientAddress(address): ClientAddress,
    Query(query): Query<DeleteAccountQuery>,
    Json(body): Json<DeleteAccount>,
) -> HttpResult<StatusCode> {
    accounts(&chat)?
        .delete_account(&caller, body, query, address)
        .await
        .map_err(HttpError::of_signed_in)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The public profile of a user
///
/// Of someone who shares a room with the caller, or did. A deleted one has username `deleted user`.
#[utoipa::path(get, path = paths::USER, tag = "Users", security(("bearer" = [])),
    responses((status = 200, description = "The user, without e-mail address", body = User)),
    extensions(("x-error-codes" = json!([NotFound]))))]
async fn get_user(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(user): Ids<UserId>,
) -> HttpResult<Json<User>> {
    Ok(Json(chat.user(&caller, user).await?))
}

/// The public keys of access tokens
///
/// RFC 7517 and RFC 8037. Access tokens are EdDSA JWTs.
#[utoipa::path(get, path = paths::JWKS, tag = "Accounts",
    responses((status = 200, description = "The keys", body = JwkSet)))]
async fn get_jwks(State(chat): State<Chat>) -> HttpResult<Response> {
    let mut response = Json(accounts(&chat)?.jwks()).into_response();
    response.headers_mut().insert(
        CACHE_CONTROL,
        http::HeaderValue::from_static("public, max-age=300"),
    );
    Ok(response)
}
