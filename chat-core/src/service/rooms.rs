//! Rooms, members and invites.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::time::Duration;

use super::fields::page_limit;
use super::{Chat, Error};
use crate::auth::Caller;
use crate::model::{Invite, InviteId, Member, Role, Room, RoomId, User, UserId, limits};
use crate::protocol::FieldError;
use crate::protocol::rest::{CreateInvite, ListQuery, Page};
use crate::store::{Change, Outcome, TokenHash};

/// Random bytes of an invite's token: more than can be guessed.
const INVITE_TOKEN_BYTES: usize = 24;
/// Text longer than this is no invite's token, and isn't hashed.
const INVITE_TOKEN_MAX_CHARS: usize = 256;

impl Chat {
    /// Makes a room; the caller is its admin.
    ///
    /// # Errors
    /// `validation_failed`, `limit_reached`, `unavailable`.
    pub async fn create_room(&self, caller: &Caller, name: &str) -> Result<Room, Error> {
        let name = room_name(name)?;
        room(
            self.write(Change::CreateRoom {
                by: caller.user_id,
                name,
            })
            .await?,
        )
    }

    /// A page of the caller's rooms, ordered by id.
    ///
    /// # Errors
    /// `validation_failed`, `unavailable`.
    pub async fn rooms(&self, caller: &Caller, query: ListQuery) -> Result<Page<Room>, Error> {
        let limit = page_limit(query.limit)?;
        Ok(self
            .store()
            .rooms(caller.user_id, query.after.map(RoomId), limit)
            .await?)
    }

    /// A room with the caller's role in it.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn room(&self, caller: &Caller, room: RoomId) -> Result<Room, Error> {
        self.store()
            .room(caller.user_id, room)
            .await?
            .ok_or_else(Error::not_found)
    }

    /// Renames a room, by an admin.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `forbidden`, `unavailable`.
    pub async fn rename_room(
        &self,
        caller: &Caller,
        room_id: RoomId,
        name: &str,
    ) -> Result<Room, Error> {
        let name = room_name(name)?;
        room(
            self.write(Change::RenameRoom {
                room_id,
                by: caller.user_id,
                name,
            })
            .await?,
        )
    }

    /// Deletes a room, by an admin.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `unavailable`.
    pub async fn delete_room(&self, caller: &Caller, room_id: RoomId) -> Result<(), Error> {
        self.write(Change::DeleteRoom {
            room_id,
            by: caller.user_id,
        })
        .await
        .map(drop)
    }

    /// A page of a room's members, ordered by user id.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `unavailable`.
    pub async fn members(
        &self,
        caller: &Caller,
        room: RoomId,
        query: ListQuery,
    ) -> Result<Page<Member>, Error> {
        let limit = page_limit(query.limit)?;
        let page = self
            .store()
            .members(caller.user_id, room, query.after.map(UserId), limit)
            .await?;
        page.ok_or_else(Error::not_found)
    }

    /// Gives a member a role, by an admin. Nobody demotes another admin; one may step down unless the last.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `conflict`, `unavailable`.
    pub async fn set_role(
        &self,
        caller: &Caller,
        room_id: RoomId,
        user_id: UserId,
        role: Role,
    ) -> Result<Member, Error> {
        match self
            .write(Change::SetRole {
                room_id,
                by: caller.user_id,
                user_id,
                role,
            })
            .await?
        {
            Outcome::Member(member) => Ok(member),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes a member out: anyone leaves; an admin removes a member but not another admin.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `unavailable`.
    pub async fn remove_member(
        &self,
        caller: &Caller,
        room_id: RoomId,
        user_id: UserId,
        delete_messages: bool,
    ) -> Result<(), Error> {
        self.write(Change::RemoveMember {
            room_id,
            by: caller.user_id,
            user_id,
            delete_messages,
        })
        .await
        .map(drop)
    }

    /// Makes an invite, by an admin. Its token is in the answer and nowhere else.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `forbidden`, `limit_reached`, `unavailable`.
    pub async fn create_invite(
        &self,
        caller: &Caller,
        room_id: RoomId,
        invite: CreateInvite,
    ) -> Result<Invite, Error> {
        let CreateInvite {
            expires_in,
            max_uses,
        } = invite;
        let expires_in = expires_in.unwrap_or(limits::INVITE_EXPIRES_SECONDS_DEFAULT);
        let mut errors = Vec::new();
        out_of_range(
            "expiresIn",
            expires_in,
            &limits::INVITE_EXPIRES_SECONDS,
            &mut errors,
        );
        if let Some(n) = max_uses {
            out_of_range("maxUses", n, &limits::INVITE_MAX_USES, &mut errors);
        }
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        let mut secret = [0; INVITE_TOKEN_BYTES];
        self.random().fill(&mut secret);
        let token = BASE64_URL_SAFE_NO_PAD.encode(secret);
        let expires_at = self
            .now()
            .plus(Duration::from_secs(expires_in.unsigned_abs()));
        let change = Change::CreateInvite {
            room_id,
            by: caller.user_id,
            token_hash: token_hash(&token),
            expires_at,
            max_uses,
        };
        match self.write(change).await? {
            Outcome::Invite(invite) => Ok(Invite {
                token: Some(token),
                ..invite
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// A page of a room's invites that still admit someone, for an admin.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `forbidden`, `unavailable`.
    pub async fn invites(
        &self,
        caller: &Caller,
        room: RoomId,
        query: ListQuery,
    ) -> Result<Page<Invite>, Error> {
        let limit = page_limit(query.limit)?;
        let after = query.after.map(InviteId);
        Ok(self
            .store()
            .invites(caller.user_id, room, self.now(), after, limit)
            .await??)
    }

    /// Revokes an invite, by an admin.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `unavailable`.
    pub async fn revoke_invite(
        &self,
        caller: &Caller,
        room_id: RoomId,
        invite_id: InviteId,
    ) -> Result<(), Error> {
        self.write(Change::RevokeInvite {
            room_id,
            by: caller.user_id,
            invite_id,
        })
        .await
        .map(drop)
    }

    /// Joins the room that an invite's token is for. Whoever tries too many unknown tokens is held off.
    ///
    /// # Errors
    /// `rate_limited`, `not_found` for an unknown token, `gone`, `limit_reached`, `unavailable`.
    pub async fn accept_invite(&self, caller: &Caller, token: &str) -> Result<Room, Error> {
        let user_id = caller.user_id;
        let attempt = self.rates().invite(user_id).await?;
        let token_hash = token_hash(token);
        let known = if token.len() <= INVITE_TOKEN_MAX_CHARS {
            self.store().invite_room(&token_hash).await?
        } else {
            None
        };
        let Some(room_id) = known else {
            attempt.count();
            return Err(Error::not_found());
        };
        room(
            self.write(Change::AcceptInvite {
                room_id,
                user_id,
                token_hash,
            })
            .await?,
        )
    }

    /// The public profile of someone who is or was in a room with the caller.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn user(&self, caller: &Caller, user: UserId) -> Result<User, Error> {
        self.store()
            .user(caller.user_id, user)
            .await?
            .ok_or_else(Error::not_found)
    }
}

fn token_hash(token: &str) -> TokenHash {
    let mut hash = TokenHash::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

fn room_name(name: &str) -> Result<String, Error> {
    limits::room_name(name)
        .map(ToOwned::to_owned)
        .map_err(|e| Error::text("name", e))
}

fn out_of_range(
    field: &str,
    value: i64,
    bounds: &std::ops::RangeInclusive<i64>,
    errors: &mut Vec<FieldError>,
) {
    if !bounds.contains(&value) {
        let detail = format!("must be from {} to {}", bounds.start(), bounds.end());
        errors.push(FieldError::new(field, "out_of_range", detail));
    }
}

fn room(outcome: Outcome) -> Result<Room, Error> {
    match outcome {
        Outcome::Room(room) => Ok(room),
        other => Err(unexpected(&other)),
    }
}

/// A store that answers something else than its contract says.
pub(super) fn unexpected(outcome: &Outcome) -> Error {
    tracing::error!(?outcome, "the store broke its contract");
    Error::new(
        crate::protocol::ErrorCode::Internal,
        "something failed inside the server",
    )
}
