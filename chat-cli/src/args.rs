//! What can be typed: clap's types, and nothing of what they lead to.

use std::path::PathBuf;

use chat_client::model::{InviteId, MessageId, Role, Seq, SessionId};
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

/// Where the server is, unless something says otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

const AFTER_HELP: &str = "\
ROOM is a room's id, or its name where that is unambiguous. A USER is an id or a username (@NAME where it looks like a number).

Passwords are asked for, or read with --password-file, or from the password_command of the configuration; an access token \
in CHAT_TOKEN is used instead of a login.

Exit codes: 0 done, 1 other failure, 2 usage, 3 not logged in or refused credentials, 4 not found, 5 forbidden or conflict, \
6 rate limited, 7 server not reachable, 130 interrupted.";

/// Chat in a terminal.
#[derive(Debug, Parser)]
#[command(name = "chat", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The server's address [default: http://127.0.0.1:8080]
    #[arg(long, global = true, env = "CHAT_SERVER", value_name = "URL", value_hint = ValueHint::Url, hide_env_values = true)]
    pub server: Option<String>,
    /// Which login and which part of the configuration to use [default: default]
    #[arg(
        long,
        global = true,
        env = "CHAT_PROFILE",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub profile: Option<String>,
    /// Print JSON: one document, or one a line for streams
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results and errors, and nothing else
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print without colours; so does NO_COLOR
    #[arg(long, global = true, env = "CHAT_NO_COLOR", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    pub no_color: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account
    Register(Register),
    /// Log in
    Login(Login),
    /// End this login
    Logout,
    /// Show who is logged in
    Whoami,
    /// List the account's logins, or end one
    #[command(args_conflicts_with_subcommands = true)]
    Sessions {
        /// What to do with them; list them, if nothing is said.
        #[command(subcommand)]
        action: Option<SessionAction>,
    },
    /// Rooms, their members and invites
    #[command(subcommand)]
    Room(RoomAction),
    /// Send a message
    Send {
        /// Where to: an id or a name
        room: String,
        /// What to say; words are joined by a space, `-` reads it from standard input
        #[arg(required = true, allow_negative_numbers = true)]
        text: Vec<String>,
    },
    /// Show a room's messages, oldest first: the newest ones without --before and --after
    History(History),
    /// Follow what happens in rooms
    Tail {
        /// Which: ids or names
        #[arg(required = true, value_name = "ROOM")]
        rooms: Vec<String>,
        /// Begin after this place: 0 is the room's beginning. Without it, begin now
        #[arg(long, value_name = "SEQ", value_parser = seq)]
        since: Option<Seq>,
    },
    /// Change what a message of yours says
    Edit {
        /// Where: an id or a name
        room: String,
        /// The message's id, as `history` shows it
        message: MessageId,
        /// What it says now; words are joined by a space, `-` reads it from standard input
        #[arg(required = true, allow_negative_numbers = true)]
        text: Vec<String>,
    },
    /// Delete a message
    Delete {
        /// Where: an id or a name
        room: String,
        /// The message's id, as `history` shows it
        message: MessageId,
    },
    /// Print a shell's completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the manual page, in roff
    Man,
}

/// `chat register`
#[derive(Debug, Args)]
pub struct Register {
    /// The account's e-mail address
    #[arg(long, value_hint = ValueHint::EmailAddress)]
    pub email: String,
    /// The name that others see: 2–32 of letters, digits, `_ . -`
    #[arg(long, value_hint = ValueHint::Username)]
    pub username: String,
    /// Log in as well
    #[arg(long)]
    pub login: bool,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: Password,
}

/// `chat login`
#[derive(Debug, Args)]
pub struct Login {
    /// The account's e-mail address [default: `email` of the configuration]
    #[arg(long, value_hint = ValueHint::EmailAddress)]
    pub email: Option<String>,
    /// What the list of sessions calls this login [default: this machine's name]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: Password,
}

/// Where a password comes from.
#[derive(Debug, Args)]
pub struct Password {
    /// Read the password from the first line of this file; `-` is standard input
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub password_file: Option<PathBuf>,
}

/// What `chat sessions` does.
#[derive(Debug, Subcommand)]
pub enum SessionAction {
    /// List them
    List,
    /// End one: its tokens and connections
    End {
        /// Its id
        id: SessionId,
    },
}

/// What `chat room` does.
#[derive(Debug, Subcommand)]
pub enum RoomAction {
    /// Make a room, whose admin you are
    Create {
        /// Its name, 1–64 characters
        name: String,
    },
    /// List your rooms
    List,
    /// Show a room
    Show {
        /// Which: an id or a name
        room: String,
    },
    /// List a room's members
    Members {
        /// Which: an id or a name
        room: String,
    },
    /// Give a room another name
    Rename {
        /// Which: an id or a name
        room: String,
        /// Its name from now on, 1–64 characters
        name: String,
    },
    /// Delete a room with all that is in it
    Delete {
        /// Which: an id or a name
        room: String,
        /// Don't ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Make an invite, and print its token, which is shown this once
    Invite(Invite),
    /// List the invites that still admit someone
    Invites {
        /// Of which room: an id or a name
        room: String,
    },
    /// Revoke an invite
    Revoke {
        /// Of which room: an id or a name
        room: String,
        /// The invite's id
        invite: InviteId,
    },
    /// Join the room that an invite admits to
    Join {
        /// The invite's token; `-` reads it from standard input
        token: String,
    },
    /// Leave a room; the last one out deletes it
    Leave {
        /// Which: an id or a name
        room: String,
        /// Delete all that you wrote there as well
        #[arg(long)]
        delete_messages: bool,
    },
    /// Remove a member
    Kick {
        /// From where: an id or a name
        room: String,
        /// Whom: an id or a username
        user: String,
        /// Delete all that they wrote there as well
        #[arg(long)]
        delete_messages: bool,
    },
    /// Make someone an admin or a plain member
    Role {
        /// Where: an id or a name
        room: String,
        /// Whom: an id or a username
        user: String,
        /// What they are from now on
        role: RoleName,
    },
}

/// `chat room invite`
#[derive(Debug, Args)]
pub struct Invite {
    /// Into which room: an id or a name
    pub room: String,
    /// How long it admits: seconds, or a number with s, m, h or d, 60s–30d [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub expires_in: Option<i64>,
    /// How many it admits, 1–10000 [default: any number]
    #[arg(long, value_name = "N")]
    pub max_uses: Option<i64>,
}

/// `chat history`
#[derive(Debug, Args)]
pub struct History {
    /// Which: an id or a name
    pub room: String,
    /// How many messages at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// The messages just before this one
    #[arg(long, value_name = "MESSAGE", conflicts_with = "after")]
    pub before: Option<MessageId>,
    /// The messages just after this one; 0: from the room's beginning
    #[arg(long, value_name = "MESSAGE")]
    pub after: Option<MessageId>,
}

/// A role as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleName {
    /// Renames and deletes the room, invites, removes members, and gives roles
    Admin,
    /// Reads and writes
    Member,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Self::Admin,
            RoleName::Member => Self::Member,
        }
    }
}

fn seq(text: &str) -> Result<Seq, String> {
    match text.parse() {
        Ok(seq) if seq >= Seq::ZERO => Ok(seq),
        _ => Err("a place is a number from 0 on".to_owned()),
    }
}

/// Reads a span of time in seconds: `90`, `90s`, `15m`, `12h`, `7d`.
fn seconds(text: &str) -> Result<i64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 60 * 60),
        Some((at, 'd')) => (&text[..at], 24 * 60 * 60),
        _ => (text, 1),
    };
    number
        .parse::<u32>()
        .map(|number| i64::from(number) * unit)
        .map_err(|_| "a time is a number of seconds, or one with s, m, h or d behind it".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_span_of_time_is_read_with_and_without_a_unit() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("7d"), Ok(604_800));
        assert!(seconds("soon").is_err());
        assert!(seconds("-5m").is_err());
        assert!(seconds("").is_err());
    }

    #[test]
    fn a_flag_holds_before_and_behind_the_command() {
        for line in [
            ["chat", "--json", "room", "list"],
            ["chat", "room", "list", "--json"],
        ] {
            assert!(Cli::try_parse_from(line).expect("parsed").global.json);
        }
    }

    #[test]
    fn there_is_no_flag_for_a_secret() {
        fn flags(command: &clap::Command) -> Vec<String> {
            let own = command
                .get_arguments()
                .filter_map(|a| a.get_long())
                .map(str::to_owned);
            own.chain(command.get_subcommands().flat_map(flags))
                .collect()
        }
        let flags = flags(&Cli::command());
        assert!(flags.contains(&"password-file".to_owned()));
        assert!(!flags.iter().any(|f| f == "password" || f == "token"));
    }
}
