//! The effective configuration as text.

use std::fmt::Write as _;

use super::keys::{self, Key};
use super::layers::{Setting, Settings};

/// A TOML file that sets what is set now. Secrets are left out, and what isn't set stands as a comment.
pub(super) fn toml(settings: &Settings) -> String {
    let mut out = String::new();
    for key in keys::ALL {
        let _ = writeln!(out, "# {} ({})", key.about, key.variable());
        let _ = match settings.get(key) {
            None => writeln!(out, "# {} is not set\n", key.name),
            Some(setting) if is_secret(key, &setting) => {
                writeln!(
                    out,
                    "# {} is set but secret # {}\n",
                    key.name, setting.source
                )
            }
            Some(setting) => writeln!(
                out,
                "{} = {} # {}\n",
                key.name,
                toml::Value::String(setting.value),
                setting.source
            ),
        };
    }
    out
}

/// A path of SQLite holds no secret; another database's URL holds its password.
fn is_secret(key: &Key, setting: &Setting) -> bool {
    key.secret && !(key.name == keys::DATABASE_URL.name && setting.value.starts_with("sqlite:"))
}
