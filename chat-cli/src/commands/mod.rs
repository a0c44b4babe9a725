//! The commands: a file for each noun.

mod account;
mod context;
mod find;
mod invite;
mod member;
mod message;
mod names;
mod room;
mod session;
mod shell;
mod signal;
mod tail;

use self::context::Context;
use crate::args::{Command, RoomAction, SessionAction};
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;
use crate::settings::Settings;

/// Runs a command that needs neither server nor configuration; gives back any other.
pub(crate) fn offline(command: Command, output: &Output) -> Result<Option<Command>> {
    match command {
        Command::Completions { shell } => shell::completions(shell, output)?,
        Command::Man => shell::man(output)?,
        other => return Ok(Some(other)),
    }
    Ok(None)
}

/// Runs a command until it is done or a signal asks the process to end.
pub(crate) async fn online(command: Command, settings: &Settings, output: &Output) -> Result<()> {
    let stop = signal::Stop::listen()?;
    tokio::select! {
        biased;
        () = stop.asked() => Err(Failure::interrupted()),
        result = Box::pin(dispatch(command, settings, output)) => {
            result.map_err(|failure| token_hint(failure, settings))
        }
    }
}

/// Under a token that was given, logging in would change nothing.
fn token_hint(failure: Failure, settings: &Settings) -> Failure {
    if settings.token.is_some() && failure.exit == Exit::Unauthenticated {
        failure.with_hint(
            "CHAT_TOKEN isn't valid, or not any more: set another, or unset it and log in",
        )
    } else {
        failure
    }
}

async fn dispatch(command: Command, settings: &Settings, output: &Output) -> Result<()> {
    let context = Context::new(settings, output);
    match command {
        Command::Register(args) => account::register(&context, args).await,
        Command::Login(args) => account::login(&context, args).await,
        Command::Logout => account::logout(&context).await,
        Command::Whoami => account::whoami(&context).await,
        Command::Sessions { action } => match action {
            None | Some(SessionAction::List) => session::list(&context).await,
            Some(SessionAction::End { id }) => session::end(&context, id).await,
        },
        Command::Room(action) => room_action(&context, action).await,
        Command::Send { room, text } => message::send(&context, &room, text).await,
        Command::History(args) => message::history(&context, args).await,
        Command::Tail { rooms, since } => tail::tail(&context, &rooms, since).await,
        Command::Edit {
            room,
            message,
            text,
        } => message::edit(&context, &room, message, text).await,
        Command::Delete { room, message } => message::delete(&context, &room, message).await,
        Command::Completions { .. } | Command::Man => {
            unreachable!("`offline` takes these")
        }
    }
}

async fn room_action(context: &Context<'_>, action: RoomAction) -> Result<()> {
    match action {
        RoomAction::Create { name } => room::create(context, &name).await,
        RoomAction::List => room::list(context).await,
        RoomAction::Show { room } => room::show(context, &room).await,
        RoomAction::Members { room } => member::list(context, &room).await,
        RoomAction::Rename { room, name } => room::rename(context, &room, &name).await,
        RoomAction::Delete { room, yes } => room::delete(context, &room, yes).await,
        RoomAction::Invite(args) => invite::create(context, args).await,
        RoomAction::Invites { room } => invite::list(context, &room).await,
        RoomAction::Revoke { room, invite } => invite::revoke(context, &room, invite).await,
        RoomAction::Join { token } => invite::join(context, token).await,
        RoomAction::Leave {
            room,
            delete_messages,
        } => member::leave(context, &room, delete_messages).await,
        RoomAction::Kick {
            room,
            user,
            delete_messages,
        } => member::kick(context, &room, &user, delete_messages).await,
        RoomAction::Role { room, user, role } => {
            member::role(context, &room, &user, role.into()).await
        }
    }
}
