//! A flag for each setting, made of the table of keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::Flags;
use crate::config::keys::{self, Key};

const CONFIG: &str = "config_file";

/// What was typed of the settings.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) flags: Flags,
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long("config")
            .value_name("PATH")
            .value_parser(ValueParser::path_buf())
            .global(true)
            .help_heading("Settings")
            .help("A TOML file of settings [env: CHAT_CONFIG]");
        keys::ALL.iter().filter(|key| !is_for_later(key)).fold(
            command.arg(config),
            |command, key| {
                let command = command.arg(argument(key.name.to_owned(), key.flag(), help(key)));
                if key.secret {
                    command.arg(argument(
                        format!("{}_file", key.name),
                        format!("{}-file", key.flag()),
                        format!("The file that holds it [env: {}_FILE]", key.variable()),
                    ))
                } else {
                    command
                }
            },
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Settings that this build refuses need no flag; said elsewhere they are refused with a reason.
fn is_for_later(key: &Key) -> bool {
    key.allowed.starts_with("nothing")
}

fn argument(id: String, flag: String, help: String) -> Arg {
    Arg::new(id)
        .long(flag)
        .value_name("VALUE")
        .action(ArgAction::Set)
        .global(true)
        .hide_short_help(true)
        .help_heading("Settings")
        .help(help)
}

fn help(key: &Key) -> String {
    let default = match key.default {
        None | Some("") => String::new(),
        Some(default) => format!(" [default: {default}]"),
    };
    let Key { about, allowed, .. } = key;
    format!("{about}: {allowed} [env: {}]{default}", key.variable())
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = BTreeMap::new();
        let mut take = |name: String| {
            if let Ok(Some(value)) = matches.try_get_one::<String>(&name) {
                settings.insert(name, value.clone());
            }
        };
        for key in keys::ALL.iter().filter(|key| !is_for_later(key)) {
            take(key.name.to_owned());
            if key.secret {
                take(format!("{}_file", key.name));
            }
        }
        Ok(Self {
            flags: Flags {
                config: matches.get_one::<PathBuf>(CONFIG).cloned(),
                settings,
            },
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
