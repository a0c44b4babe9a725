//! Each REST path once: the template for a router, and the builder for a client.
//!
//! A test of the server mounts every template and matches every builder's output against it.

macro_rules! paths {
    ($($(#[$doc:meta])* $name:ident = $template:literal, $build:ident($($arg:ident),*);)*) => {
        $($(#[$doc])* pub const $name: &str = $template;)*

        $(
            #[doc = concat!("The path of `", $template, "`.")]
            #[must_use]
            pub fn $build($($arg: impl Into<i64>),*) -> String {
                fill($template, &[$($arg.into()),*])
            }
        )*

        /// All templates.
        pub const ALL: &[&str] = &[$($template),*];
    };
}

fn fill(template: &str, ids: &[i64]) -> String {
    let mut ids = ids.iter();
    template
        .split('/')
        .map(|part| {
            if part.starts_with('{') {
                ids.next().map(ToString::to_string).unwrap_or_default()
            } else {
                part.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("/")
}

paths! {
    /// Make an account.
    REGISTER = "/v1/auth/register", register();
    /// Log in.
    LOGIN = "/v1/auth/login", login();
    /// Rotate the tokens.
    REFRESH = "/v1/auth/refresh", refresh();
    /// End the session.
    LOGOUT = "/v1/auth/logout", logout();
    /// Change the password.
    PASSWORD = "/v1/auth/password", password();
    /// The caller's sessions.
    SESSIONS = "/v1/auth/sessions", sessions();
    /// One session.
    SESSION = "/v1/auth/sessions/{sessionId}", session(session_id);
    /// The caller.
    ME = "/v1/users/me", me();
    /// A public profile.
    USER = "/v1/users/{userId}", user(user_id);
    /// The public keys of access tokens.
    JWKS = "/.well-known/jwks.json", jwks();
    /// The caller's rooms.
    ROOMS = "/v1/rooms", rooms();
    /// One room.
    ROOM = "/v1/rooms/{roomId}", room(room_id);
    /// A room's members.
    MEMBERS = "/v1/rooms/{roomId}/members", members(room_id);
    /// The caller's own membership.
    MEMBER_ME = "/v1/rooms/{roomId}/members/me", member_me(room_id);
    /// One member.
    MEMBER = "/v1/rooms/{roomId}/members/{userId}", member(room_id, user_id);
    /// A room's invites.
    INVITES = "/v1/rooms/{roomId}/invites", invites(room_id);
    /// One invite.
    INVITE = "/v1/rooms/{roomId}/invites/{inviteId}", invite(room_id, invite_id);
    /// Join by an invite's token.
    ACCEPT_INVITE = "/v1/invites/accept", accept_invite();
    /// A room's messages.
    MESSAGES = "/v1/rooms/{roomId}/messages", messages(room_id);
    /// One message.
    MESSAGE = "/v1/rooms/{roomId}/messages/{messageId}", message(room_id, message_id);
    /// What changed in a room.
    CHANGES = "/v1/rooms/{roomId}/changes", changes(room_id);
    /// A room's webhooks.
    WEBHOOKS = "/v1/rooms/{roomId}/webhooks", webhooks(room_id);
    /// One webhook.
    WEBHOOK = "/v1/rooms/{roomId}/webhooks/{webhookId}", webhook(room_id, webhook_id);
    /// A webhook's secret.
    WEBHOOK_SECRET = "/v1/rooms/{roomId}/webhooks/{webhookId}/secret", webhook_secret(room_id, webhook_id);
    /// A webhook's deliveries.
    DELIVERIES = "/v1/rooms/{roomId}/webhooks/{webhookId}/deliveries", deliveries(room_id, webhook_id);
    /// Once more for one delivery.
    RETRY_DELIVERY = "/v1/rooms/{roomId}/webhooks/{webhookId}/deliveries/{deliveryId}/retry", retry_delivery(room_id, webhook_id, delivery_id);
    /// The hub.
    HUB = "/v1/hub", hub();
    /// The hub's negotiation.
    NEGOTIATE = "/v1/hub/negotiate", negotiate();
}

impl From<crate::model::RoomId> for i64 {
    fn from(id: crate::model::RoomId) -> Self {
        id.0
    }
}

impl From<crate::model::UserId> for i64 {
    fn from(id: crate::model::UserId) -> Self {
        id.0
    }
}

impl From<crate::model::MessageId> for i64 {
    fn from(id: crate::model::MessageId) -> Self {
        id.0
    }
}

impl From<crate::model::InviteId> for i64 {
    fn from(id: crate::model::InviteId) -> Self {
        id.0
    }
}

impl From<crate::model::SessionId> for i64 {
    fn from(id: crate::model::SessionId) -> Self {
        id.0
    }
}

impl From<crate::model::WebhookId> for i64 {
    fn from(id: crate::model::WebhookId) -> Self {
        id.0
    }
}

impl From<crate::model::DeliveryId> for i64 {
    fn from(id: crate::model::DeliveryId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RoomId, UserId};

    #[test]
    fn a_builder_fills_its_template() {
        assert_eq!(member(RoomId(7), UserId(9)), "/v1/rooms/7/members/9");
        assert_eq!(login(), LOGIN);
    }
}
