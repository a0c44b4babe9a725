//! What holds for this run: flags over environment over configuration over defaults.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use figment::Figment;
use figment::providers::{Format as _, Toml};
use serde::Deserialize;

use crate::args::{DEFAULT_SERVER, Global};
use crate::exit::{Failure, Result};

/// What the process was given beside its arguments. Read once, in `main`.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// `CHAT_TOKEN`: an access token to use instead of a login.
    pub(crate) token: Option<Secret>,
    /// The folder of the configuration, XDG's.
    pub(crate) config_dir: Option<PathBuf>,
    /// The folder of what is kept between runs, XDG's.
    pub(crate) state_dir: Option<PathBuf>,
}

impl Environment {
    /// Reads the process's environment.
    pub(crate) fn read() -> Result<Self> {
        let token = match env::var("CHAT_TOKEN") {
            Ok(token) if token.trim().is_empty() => None,
            Ok(token) => Some(Secret(token.trim().to_owned())),
            Err(env::VarError::NotPresent) => None,
            Err(env::VarError::NotUnicode(_)) => {
                return Err(Failure::usage("CHAT_TOKEN isn't an access token"));
            }
        };
        // XDG's folders on every system: a terminal's user looks there on macOS as well.
        let folders = etcetera::base_strategy::Xdg::new().ok();
        Ok(Self {
            token,
            config_dir: folders.as_ref().map(|f| f.config_dir().join("chat")),
            state_dir: folders
                .and_then(|f| f.state_dir())
                .map(|folder| folder.join("chat")),
        })
    }
}

/// A text that mustn't be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// `config.toml` in the folder `chat` of XDG's configuration folder. A profile's own values stand under
/// `[profiles.NAME]` and win over those above.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    /// Which profile to use unless a flag says.
    profile: Option<String>,
    #[serde(default)]
    profiles: std::collections::BTreeMap<String, ProfileSection>,
    server: Option<String>,
    email: Option<String>,
    password_command: Option<CommandLine>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileSection {
    server: Option<String>,
    email: Option<String>,
    password_command: Option<CommandLine>,
}

/// A command: a line for the shell, or the program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum CommandLine {
    /// A line for `sh`.
    Shell(String),
    /// The program, then its arguments.
    Words(Vec<String>),
}

/// What holds for this run.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The server's address, without a slash at its end.
    pub(crate) server: String,
    /// Whose login.
    pub(crate) profile: String,
    /// The account's e-mail address, if configured.
    pub(crate) email: Option<String>,
    /// What prints the password, if configured.
    pub(crate) password_command: Option<CommandLine>,
    /// An access token to use instead of a login.
    pub(crate) token: Option<Secret>,
    /// Where logins are kept.
    pub(crate) state_dir: Option<PathBuf>,
}

impl Settings {
    /// Puts together what was typed, the environment and the configuration.
    pub(crate) fn resolve(global: &Global, environment: Environment) -> Result<Self> {
        let file = match &environment.config_dir {
            Some(folder) => read_file(&folder.join("config.toml"))?,
            None => ConfigFile::default(),
        };
        let profile = given(global.profile.as_ref())
            .or(file.profile)
            .unwrap_or_else(|| "default".to_owned());
        check_profile(&profile)?;
        let section = file.profiles.get(&profile).cloned().unwrap_or_default();
        let server = given(global.server.as_ref())
            .or(section.server)
            .or(file.server)
            .unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        Ok(Self {
            server: server.trim_end_matches('/').to_owned(),
            profile,
            email: section.email.or(file.email),
            password_command: section.password_command.or(file.password_command),
            token: environment.token,
            state_dir: environment.state_dir,
        })
    }
}

/// A value that says something: an empty variable is none.
fn given(value: Option<&String>) -> Option<String> {
    value.filter(|text| !text.is_empty()).cloned()
}

/// A profile's name becomes a folder's.
fn check_profile(name: &str) -> Result<()> {
    let good = !name.starts_with('.')
        && (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if good {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{name:?} is no profile's name: 1–64 letters, digits, `_ . -`, not beginning with a dot"
    )))
}

fn read_file(path: &Path) -> Result<ConfigFile> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(ConfigFile::default()),
        Err(e) => {
            return Err(Failure::usage(format!(
                "the configuration {} can't be read: {e}",
                path.display()
            )));
        }
    };
    Figment::from(Toml::string(&text)).extract().map_err(|e| {
        Failure::usage(format!(
            "the configuration {} makes no sense: {e}",
            path.display()
        ))
    })
}

/// The name of this machine, for the list of sessions: at most 64 characters without controls.
pub(crate) fn device_name() -> Option<String> {
    let name = env::var_os("HOSTNAME")
        .or_else(|| {
            std::fs::read_to_string("/etc/hostname")
                .ok()
                .map(OsString::from)
        })?
        .into_string()
        .ok()?;
    let name: String = name
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(profile: Option<&str>, server: Option<&str>) -> Global {
        Global {
            server: server.map(str::to_owned),
            profile: profile.map(str::to_owned),
            json: false,
            quiet: false,
            no_color: false,
        }
    }

    fn resolve(config: &str, global: &Global) -> Result<Settings> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), config).expect("written");
        let environment = Environment {
            config_dir: Some(folder.path().to_owned()),
            ..Environment::default()
        };
        Settings::resolve(global, environment)
    }

    const CONFIG: &str = r#"
        server = "https://chat.example/"
        email = "ann@example.org"

        [profiles.work]
        server = "https://work.example"
        password_command = ["pass", "show", "work"]
    "#;

    #[test]
    fn a_flag_wins_over_a_profile_over_the_top_of_the_file_over_the_default() {
        let top = resolve(CONFIG, &global(None, None)).expect("good");
        assert_eq!(top.server, "https://chat.example");
        assert_eq!(top.profile, "default");
        let work = resolve(CONFIG, &global(Some("work"), None)).expect("good");
        assert_eq!(work.server, "https://work.example");
        assert_eq!(work.email.as_deref(), Some("ann@example.org"));
        let words = ["pass", "show", "work"].map(str::to_owned).to_vec();
        assert_eq!(work.password_command, Some(CommandLine::Words(words)));
        let flag = resolve(CONFIG, &global(Some("work"), Some("http://x"))).expect("good");
        assert_eq!(flag.server, "http://x");
        let bare = resolve("", &global(None, None)).expect("good");
        assert_eq!(bare.server, DEFAULT_SERVER);
    }

    #[test]
    fn a_key_that_is_none_is_refused_by_name() {
        let failure = resolve("servre = \"x\"", &global(None, None)).expect_err("refused");
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        assert!(failure.message.contains("servre"), "{}", failure.message);
    }

    #[test]
    fn a_profile_never_leaves_its_folder() {
        for bad in ["../x", "a/b", ".hidden", "", "a b"] {
            assert!(check_profile(bad).is_err(), "{bad:?}");
        }
        assert!(check_profile("work-2.eu").is_ok());
    }

    #[test]
    fn a_token_never_shows_in_debug_text() {
        let text = format!("{:?}", Secret("s3cret".into()));
        assert!(!text.contains("s3cret"));
    }
}
