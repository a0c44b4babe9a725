//! The three layers in which a setting is said: flags before the environment before the TOML file before defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::keys::{self, Key};

/// The process's environment, or a test's.
pub type Environment = BTreeMap<String, OsString>;

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere.
    Default,
    /// In the TOML file.
    File(PathBuf),
    /// In this environment variable.
    Variable(String),
    /// By this flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A setting's value, and where it was said.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) value: String,
    pub(super) source: Source,
}

/// What was said of each setting, after the layers were put on each other. Values are still text.
#[derive(Clone)]
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// Reads all layers.
    ///
    /// `flags` holds what was typed, by key name (`database_url_file` beside `database_url`). The file is `config_flag`,
    /// else `CHAT_CONFIG`, else none.
    ///
    /// # Errors
    /// A key that doesn't exist, a file that can't be read, or a secret said in two ways at once.
    pub(super) fn read(
        config_flag: Option<&Path>,
        flags: &BTreeMap<String, String>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let mut settings = BTreeMap::new();
        let config = config_flag
            .map(Path::to_owned)
            .or_else(|| environment.get(keys::CONFIG_VARIABLE).map(PathBuf::from));
        if let Some(path) = config {
            let layer = file(&path)?;
            put(&mut settings, layer, |_| Source::File(path.clone()))?;
        }
        put(&mut settings, variables(environment)?, |name| {
            Source::Variable(variable(name))
        })?;
        put(&mut settings, flags.clone(), |name| {
            Source::Flag(name.replace('_', "-"))
        })?;
        Ok(Self(settings))
    }

    /// What was said of `key`, or its default.
    pub(super) fn get(&self, key: &Key) -> Option<Setting> {
        self.0.get(key.name).cloned().or_else(|| {
            key.default.map(|value| Setting {
                value: value.to_owned(),
                source: Source::Default,
            })
        })
    }
}

fn variable(name: &str) -> String {
    format!("CHAT_{}", name.to_ascii_uppercase())
}

/// Puts a layer on top: its names are keys, or secret keys with `_file`.
fn put(
    settings: &mut BTreeMap<&'static str, Setting>,
    layer: BTreeMap<String, String>,
    source: impl Fn(&str) -> Source,
) -> Result<(), ConfigError> {
    let mut layer = layer;
    for key in keys::ALL {
        let value = layer.remove(key.name);
        let file_name = format!("{}_file", key.name);
        let file = key.secret.then(|| layer.remove(&file_name)).flatten();
        let (value, name) = match (value, file) {
            (None, None) => continue,
            (Some(value), None) => (value, key.name),
            (None, Some(path)) => (secret(key, Path::new(&path))?, file_name.as_str()),
            (Some(_), Some(_)) => {
                return Err(ConfigError::new(format!(
                    "{}: said directly and by {}_FILE at once: leave one of them out",
                    key.variable(),
                    key.variable(),
                )));
            }
        };
        let source = source(name);
        settings.insert(key.name, Setting { value, source });
    }
    match layer.into_keys().next() {
        None => Ok(()),
        Some(name) => Err(unknown(&name, &source(&name))),
    }
}

fn secret(key: &Key, path: &Path) -> Result<String, ConfigError> {
    let mut text = std::fs::read_to_string(path).map_err(|e| {
        ConfigError::new(format!(
            "{}_FILE: {} can't be read: {e}",
            key.variable(),
            path.display()
        ))
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn unknown(name: &str, source: &Source) -> ConfigError {
    let shown = match source {
        Source::Variable(name) => name.clone(),
        _ => name.to_owned(),
    };
    if matches!(source, Source::Variable(_)) && is_of_kubernetes(name) {
        return ConfigError::new(format!(
            "{shown}: there is no such key ({source}): Kubernetes sets it for a Service that is named chat, unless the pod \
             says `enableServiceLinks: false`"
        ));
    }
    let nearest = keys::ALL
        .iter()
        .map(|key| (strsim::damerau_levenshtein(key.name, name), key))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 3);
    let hint = match (nearest, source) {
        (Some((_, key)), Source::Variable(_)) => format!("did you mean {}?", key.variable()),
        (Some((_, key)), _) => format!("did you mean {}?", key.name),
        (None, _) => "`chat-server config` lists all keys".to_owned(),
    };
    ConfigError::new(format!("{shown}: there is no such key ({source}): {hint}"))
}

/// Whether a variable looks like one that tells a pod where the Service `chat` is.
fn is_of_kubernetes(name: &str) -> bool {
    name == "port" || name.starts_with("port_") || name.starts_with("service_")
}

/// The variables that begin with `CHAT_`, by key name.
fn variables(environment: &Environment) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut layer = BTreeMap::new();
    for (name, value) in environment {
        let Some(key) = name.strip_prefix("CHAT_") else {
            continue;
        };
        if name == keys::CONFIG_VARIABLE || keys::CLIENT_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        if key.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err(unknown(
                &key.to_ascii_lowercase(),
                &Source::Variable(name.clone()),
            ));
        }
        let value = value
            .to_str()
            .ok_or_else(|| ConfigError::new(format!("{name}: its value is not UTF-8")))?;
        layer.insert(key.to_ascii_lowercase(), value.to_owned());
    }
    Ok(layer)
}

/// The TOML file, by key name.
fn file(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        ConfigError::new(format!(
            "the configuration file {} can't be read: {e}",
            path.display()
        ))
    })?;
    // The parser's own message quotes the line, which may hold a secret.
    let table: toml::Table = toml::from_str(&text).map_err(|e: toml::de::Error| {
        let line = e
            .span()
            .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        ConfigError::new(format!(
            "{}: line {line} is not valid TOML: {}",
            path.display(),
            e.message()
        ))
    })?;
    let mut layer = BTreeMap::new();
    flatten(path, "", table, &mut layer)?;
    Ok(layer)
}

fn flatten(
    path: &Path,
    prefix: &str,
    table: toml::Table,
    layer: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        let text = match value {
            toml::Value::Table(table) => {
                flatten(path, &format!("{name}_"), table, layer)?;
                continue;
            }
            toml::Value::Array(items) => items
                .into_iter()
                .map(scalar)
                .collect::<Option<Vec<_>>>()
                .map(|items| items.join(",")),
            value => scalar(value),
        };
        let text = text.ok_or_else(|| {
            ConfigError::new(format!(
                "{}: {name} must be a text, a number, true or false, or a list of them",
                path.display()
            ))
        })?;
        if layer.insert(name.clone(), text).is_some() {
            return Err(ConfigError::new(format!(
                "{}: {name} is said twice",
                path.display()
            )));
        }
    }
    Ok(())
}

fn scalar(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Boolean(true) => Some("on".to_owned()),
        toml::Value::Boolean(false) => Some("off".to_owned()),
        toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => None,
    }
}
