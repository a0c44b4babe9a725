//! A batch of changes, in one call, which is one transaction.

use serde::{Deserialize, Serialize};

use super::super::{Change, CommitContext, Committed, Outcome, Refusal, StoreError, TokenHash};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::json;
use super::sends::{self, SendRow, Sends};
use crate::model::{Event, Invite, Member, Message, Role, Room};

/// What one change answers.
pub(super) type Answer = Result<Committed, Refusal>;

/// The answer of a change that left everything as it was.
pub(super) const fn unchanged(outcome: Outcome) -> Committed {
    Committed {
        events: Vec::new(),
        outcome,
    }
}

pub(super) async fn commit(
    database: &Database,
    ctx: &CommitContext,
    changes: &[Change],
) -> Result<Vec<Answer>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let run = Sends::at_the_head_of(changes);
    if run.len() == changes.len() {
        return sends::commit(database, ctx, &run).await;
    }
    let steps = steps(changes);
    let text = serde_json::to_string(&steps).map_err(|e| Fault::from(e).unchanged())?;
    let rows: Vec<(String,)> = database
        .write(
            Statement::new(
                "SELECT answer FROM commit_changes($1::jsonb, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(text)
            .bind(rooms(changes))
            .bind(users(changes))
            .bind(ctx.at.as_millis())
            .bind(ctx.limits.rooms_per_user)
            .bind(ctx.limits.members_per_room)
            .bind(ctx.limits.invites_per_room)
            .bind(ctx.outbox.map(|node| node.0)),
        )
        .await?;
    answers(ctx, &steps, &rows).map_err(Fault::unchanged)
}

/// The rooms to lock.
fn rooms(changes: &[Change]) -> Vec<i64> {
    changes
        .iter()
        .filter_map(|change| change.room_id().map(|room| room.0))
        .collect()
}

/// The users to lock: those who may come to be in a room, and those of jobs.
fn users(changes: &[Change]) -> Vec<i64> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::CreateRoom { by, .. } => Some(by.0),
            Change::AcceptInvite { user_id, .. }
            | Change::RefreshMember { user_id, .. }
            | Change::RemoveAccount { user_id, .. } => Some(user_id.0),
            Change::SendMessage { .. }
            | Change::EditMessage { .. }
            | Change::DeleteMessage { .. }
            | Change::RenameRoom { .. }
            | Change::DeleteRoom { .. }
            | Change::SetRole { .. }
            | Change::RemoveMember { .. }
            | Change::CreateInvite { .. }
            | Change::RevokeInvite { .. } => None,
        })
        .collect()
}

/// What `commit_changes` does one after the other.
#[derive(Serialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Step<'a> {
    Send(Sends<'a>),
    EditMessage {
        room: i64,
        message: i64,
        by: i64,
        content: &'a str,
    },
    DeleteMessage {
        room: i64,
        message: i64,
        by: i64,
    },
    CreateRoom {
        by: i64,
        name: &'a str,
    },
    RenameRoom {
        room: i64,
        by: i64,
        name: &'a str,
    },
    DeleteRoom {
        room: i64,
        by: i64,
    },
    SetRole {
        room: i64,
        by: i64,
        user: i64,
        admin: bool,
    },
    RemoveMember {
        room: i64,
        by: i64,
        user: i64,
        with_messages: bool,
    },
    CreateInvite {
        room: i64,
        by: i64,
        token: String,
        expires_at: i64,
        max_uses: Option<i64>,
    },
    RevokeInvite {
        room: i64,
        by: i64,
        invite: i64,
    },
    AcceptInvite {
        room: i64,
        user: i64,
        token: String,
    },
    RefreshMember {
        room: i64,
        user: i64,
    },
    RemoveAccount {
        room: i64,
        user: i64,
        with_messages: bool,
    },
}

fn steps(changes: &[Change]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = changes;
    while let Some(change) = rest.first() {
        let (step, taken) = step(change, rest);
        steps.push(step);
        rest = &rest[taken..];
    }
    steps
}

/// The step that `change`, the first of `rest`, begins, and how many changes it takes.
fn step<'a>(change: &'a Change, rest: &'a [Change]) -> (Step<'a>, usize) {
    let step = match change {
        Change::SendMessage { .. } => {
            let run = Sends::at_the_head_of(rest);
            let taken = run.len();
            return (Step::Send(run), taken);
        }
        Change::EditMessage {
            room_id,
            message_id,
            by,
            content,
        } => Step::EditMessage {
            room: room_id.0,
            message: message_id.0,
            by: by.0,
            content,
        },
        Change::DeleteMessage {
            room_id,
            message_id,
            by,
        } => Step::DeleteMessage {
            room: room_id.0,
            message: message_id.0,
            by: by.0,
        },
        Change::CreateRoom { by, name } => Step::CreateRoom { by: by.0, name },
        Change::RenameRoom { room_id, by, name } => Step::RenameRoom {
            room: room_id.0,
            by: by.0,
            name,
        },
        Change::DeleteRoom { room_id, by } => Step::DeleteRoom {
            room: room_id.0,
            by: by.0,
        },
        Change::SetRole {
            room_id,
            by,
            user_id,
            role,
        } => Step::SetRole {
            room: room_id.0,
            by: by.0,
            user: user_id.0,
            admin: *role == Role::Admin,
        },
        Change::RemoveMember {
            room_id,
            by,
            user_id,
            delete_messages,
        } => Step::RemoveMember {
            room: room_id.0,
            by: by.0,
            user: user_id.0,
            with_messages: *delete_messages,
        },
        Change::CreateInvite {
            room_id,
            by,
            token_hash,
            expires_at,
            max_uses,
        } => Step::CreateInvite {
            room: room_id.0,
            by: by.0,
            token: hex(token_hash),
            expires_at: expires_at.as_millis(),
            max_uses: *max_uses,
        },
        Change::RevokeInvite {
            room_id,
            by,
            invite_id,
        } => Step::RevokeInvite {
            room: room_id.0,
            by: by.0,
            invite: invite_id.0,
        },
        Change::AcceptInvite {
            room_id,
            user_id,
            token_hash,
        } => Step::AcceptInvite {
            room: room_id.0,
            user: user_id.0,
            token: hex(token_hash),
        },
        Change::RefreshMember { room_id, user_id } => Step::RefreshMember {
            room: room_id.0,
            user: user_id.0,
        },
        Change::RemoveAccount {
            room_id,
            user_id,
            delete_messages,
        } => Step::RemoveAccount {
            room: room_id.0,
            user: user_id.0,
            with_messages: *delete_messages,
        },
    };
    (step, 1)
}

fn hex(hash: &TokenHash) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What a change other than a send answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum StepAnswer {
    Refused {
        refusal: RefusalName,
    },
    Done {
        events: Vec<Event>,
        outcome: OutcomeName,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum RefusalName {
    NotFound,
    Forbidden,
    LastAdmin,
    InviteGone,
    RoomsPerUser,
    MembersPerRoom,
    InvitesPerRoom,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum OutcomeName {
    Event,
    Message(Message),
    Room(Room),
    Member(Member),
    Invite(Invite),
    Done,
}

fn answers(
    ctx: &CommitContext,
    steps: &[Step<'_>],
    rows: &[(String,)],
) -> Result<Vec<Answer>, Fault> {
    if steps.len() != rows.len() {
        return Err(Fault::Short);
    }
    let mut answers = Vec::new();
    for (step, (text,)) in steps.iter().zip(rows) {
        if let Step::Send(run) = step {
            answers.extend(run.answers(ctx.at, json::<Vec<SendRow>>(text)?)?);
        } else {
            answers.push(json::<StepAnswer>(text)?.answer());
        }
    }
    Ok(answers)
}

impl StepAnswer {
    fn answer(self) -> Answer {
        match self {
            Self::Refused { refusal } => Err(match refusal {
                RefusalName::NotFound => Refusal::NotFound,
                RefusalName::Forbidden => Refusal::Forbidden,
                RefusalName::LastAdmin => Refusal::LastAdmin,
                RefusalName::InviteGone => Refusal::InviteGone,
                RefusalName::RoomsPerUser => Refusal::RoomsPerUser,
                RefusalName::MembersPerRoom => Refusal::MembersPerRoom,
                RefusalName::InvitesPerRoom => Refusal::InvitesPerRoom,
            }),
            Self::Done { events, outcome } => Ok(Committed {
                events,
                outcome: match outcome {
                    OutcomeName::Event => Outcome::Event,
                    OutcomeName::Message(message) => Outcome::Message(message),
                    OutcomeName::Room(room) => Outcome::Room(room),
                    OutcomeName::Member(member) => Outcome::Member(member),
                    OutcomeName::Invite(invite) => Outcome::Invite(invite),
                    OutcomeName::Done => Outcome::Done,
                },
            }),
        }
    }
}
