//! Bodies, queries and answers of the REST calls.
//!
//! Requests ignore members they don't know, and take `null` for absent. Values are checked by `service`, not here: a
//! body that parses may still be refused field by field.

use serde::{Deserialize, Serialize};

use crate::model::{DeliveryId, Event, EventKind, MessageId, Role, Seq, User};

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Whether there is more beyond them.
    pub has_more: bool,
}

/// A page of `changes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// The current state of all that changed after `since`, ordered by when it last changed.
    pub items: Vec<Event>,
    /// Where the caller now stands: the next page's `since`, or the room's head.
    pub seq: Seq,
    /// Whether there is more.
    pub has_more: bool,
    /// False when retention has removed part of it.
    pub complete: bool,
}

/// `POST /v1/auth/register`
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// At most 254 characters, one @ with something on both sides.
    pub email: String,
    /// 2–32 of ASCII letters, digits, `_ . -`.
    pub username: String,
    /// 8–256 characters.
    pub password: String,
}

/// `POST /v1/auth/login`
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// The account's e-mail address, in any case.
    pub email: String,
    /// Its password.
    pub password: String,
    /// What to call this login in the list of sessions, 1–64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// `POST /v1/auth/refresh`
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    /// The refresh token last given out.
    pub refresh_token: String,
}

/// `POST /v1/auth/password`
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChangePassword {
    /// The password now.
    pub current_password: String,
    /// The password from now on, 8–256 characters.
    pub new_password: String,
}

/// `DELETE /v1/users/me`
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeleteAccount {
    /// The account's password.
    pub password: String,
}

/// `PATCH /v1/users/me`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UpdateUser {
    /// The new username; absent: unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// The tokens of a session.
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Always `Bearer`.
    pub token_type: String,
    /// An EdDSA JWT for the `Authorization` header.
    pub access_token: String,
    /// Seconds that the access token lives.
    pub expires_in: i64,
    /// Rotates with each use.
    pub refresh_token: String,
    /// Seconds that the refresh token lives.
    pub refresh_expires_in: i64,
    /// Whose they are.
    pub user: User,
}

/// `GET /.well-known/jwks.json`: the keys that access tokens may be signed with (RFC 7517).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JwkSet {
    /// The keys; readers pass over those of a kind that they don't know.
    pub keys: Vec<Jwk>,
}

/// A public key. Ours are Ed25519 (RFC 8037); a set made by others may hold more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Jwk {
    /// The key type: `OKP`.
    pub kty: String,
    /// The curve: `Ed25519`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// The public key's bytes, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The id that a token's header names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The algorithm: `EdDSA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// The use: `sig`.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}

macro_rules! secret_debug {
    ($($name:ident),*) => { $(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )* };
}
// Passwords and tokens must not reach a log by `{:?}`.
secret_debug!(
    Register,
    Login,
    Refresh,
    ChangePassword,
    DeleteAccount,
    Tokens,
    AcceptInvite
);

/// `POST /v1/rooms` and `PATCH /v1/rooms/{roomId}`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RoomName {
    /// 1–64 characters, trimmed.
    pub name: String,
}

/// `PATCH /v1/rooms/{roomId}/members/{userId}`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SetRole {
    /// The role from now on.
    pub role: Role,
}

/// `POST /v1/rooms/{roomId}/invites`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreateInvite {
    /// Seconds it admits, 60–2,592,000; absent: 7 days.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_integer"
    )]
    pub expires_in: Option<i64>,
    /// How many it admits, 1–10,000; absent: any number.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_integer"
    )]
    pub max_uses: Option<i64>,
}

/// `POST /v1/invites/accept`
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AcceptInvite {
    /// The invite's token.
    pub token: String,
}

/// `POST /v1/rooms/{roomId}/messages`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    /// 1–4,000 characters, not only white space, stored byte for byte.
    pub content: String,
    /// 1–64 visible ASCII characters; sending it again returns the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
}

/// `PATCH /v1/rooms/{roomId}/messages/{id}`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EditMessage {
    /// The new content, under the rules of sending.
    pub content: String,
}

/// `POST /v1/rooms/{roomId}/webhooks`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreateWebhook {
    /// Where events are posted to: `http` or `https`, at most 2,048 characters, a public address.
    pub url: String,
    /// The tags of the events wanted; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventKind>>,
}

/// The query of `GET …/deliveries`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase")]
pub struct DeliveriesQuery {
    /// Items wanted, 1–100, default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// The page begins with the next older one than this delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<i64>))]
    pub before: Option<DeliveryId>,
}

/// The query of a list that pages by the last id seen.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase")]
pub struct ListQuery {
    /// Items wanted, 1–100, default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// The id after which the page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
}

/// The query of `GET …/messages`: the newest page with neither, and never both.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase")]
pub struct HistoryQuery {
    /// Items wanted, 1–100, default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// The page that ends just before this message's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<i64>))]
    pub before: Option<MessageId>,
    /// The page that begins just after this message's place; 0: from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<i64>))]
    pub after: Option<MessageId>,
}

/// The query of `GET …/changes`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase")]
pub struct ChangesQuery {
    /// The place after which changes are wanted.
    #[cfg_attr(feature = "openapi", param(value_type = i64))]
    pub since: Seq,
    /// Where the catch-up began: the same for all its pages; default `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<i64>))]
    pub from: Option<Seq>,
    /// Items wanted, 1–100, default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// The query of `DELETE …/members/{userId}`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase")]
pub struct RemoveMemberQuery {
    /// Whether all that the user wrote in the room is deleted as well.
    #[serde(default)]
    pub delete_messages: bool,
}

/// The query of `DELETE /v1/users/me`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase")]
pub struct DeleteAccountQuery {
    /// Whether all that the user wrote is deleted as well.
    #[serde(default)]
    pub erase_messages: bool,
}

/// Reads an optional integer; `null` is absent, and `7.0` is 7.
pub(crate) fn optional_integer<'de, D: serde::Deserializer<'de>>(
    d: D,
) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Integer(#[serde(deserialize_with = "crate::model::deserialize_integer")] i64);
    Ok(Option::<Integer>::deserialize(d)?.map(|i| i.0))
}
