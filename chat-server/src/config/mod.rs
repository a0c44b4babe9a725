//! What an operator may set: flags, `CHAT_*` variables, a TOML file, defaults, in this order.
//!
//! Nothing here asks the process: the environment and what was typed are handed in, so that a test needs neither. A key
//! that doesn't exist, and a value that isn't allowed, stop the start.

mod bus;
pub mod keys;
mod layers;
mod show;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chat_core::model::limits::{Lifetimes, Limits, Rates};
use chat_core::service::webhooks::PrivateTargets;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

pub use self::bus::Bus;
use self::keys::Key;
use self::layers::Settings;
pub use self::layers::{Environment, Source};
pub use self::value::Address;
use crate::http::Origin;

/// Why the configuration is refused: one line that names the key, its value unless secret, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(line: String) -> Self {
        Self(line)
    }
}

/// What was typed on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the TOML file.
    pub config: Option<PathBuf>,
    /// The settings, by key name: `admin_listen` for `--admin-listen`.
    pub settings: BTreeMap<String, String>,
}

/// The whole configuration of a server, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how it listens.
    pub network: Network,
    /// What it serves.
    pub roles: Roles,
    /// `CHAT_DRAIN_SECONDS`: how long it lets end what it began, when it is asked to stop.
    pub drain: Duration,
    /// Where it keeps what it is told.
    pub storage: Storage,
    /// How it knows its callers.
    pub auth: Auth,
    /// `CHAT_LIMIT_*`: counts it holds.
    pub limits: Limits,
    /// `CHAT_WEBHOOK_PRIVATE`: whether webhooks may go to private addresses.
    pub webhook_targets: PrivateTargets,
    /// `CHAT_RATE_LIMITS`, `CHAT_RATE_*`: rates it holds.
    pub rates: Rates,
    /// What it logs.
    pub log: Log,
}

/// Where and how a server listens.
#[derive(Clone, Debug)]
pub struct Network {
    /// `CHAT_LISTEN`: the public address.
    pub listen: Address,
    /// `CHAT_ADMIN_LISTEN`: where health and metrics are alone, if apart from the public address.
    pub admin_listen: Option<Address>,
    /// `CHAT_TLS_CERT` and `CHAT_TLS_KEY`: HTTPS on the public address.
    pub tls: Option<TlsFiles>,
    /// `CHAT_MAX_CONNECTIONS`: connections held at once on the public address.
    pub max_connections: usize,
    /// `CHAT_REQUEST_SECONDS`: how long a REST request may take.
    pub request_timeout: Duration,
    /// `CHAT_TRUSTED_PROXIES`: peers whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// `CHAT_CORS_ORIGINS`: web origins that may call from a browser.
    pub cors_origins: Vec<Origin>,
    /// `CHAT_WEB_ROOT`: a folder of static files that answers where no call does.
    pub web_root: Option<PathBuf>,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `CHAT_TLS_CERT`: the chain, leaf first, PEM.
    pub cert: PathBuf,
    /// `CHAT_TLS_KEY`: the leaf's private key, PEM.
    pub key: PathBuf,
}

/// A part of the server that can run on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Accounts, sessions and tokens.
    Auth,
    /// Rooms and messages over REST.
    Rest,
    /// The hub.
    Realtime,
    /// Deliveries to webhooks.
    Consumer,
}

/// `CHAT_ROLES`: what a server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    /// Everything that this build serves.
    #[must_use]
    pub fn all() -> Self {
        Self([Role::Auth, Role::Rest, Role::Realtime, Role::Consumer].into())
    }

    /// These.
    pub fn of(roles: impl IntoIterator<Item = Role>) -> Self {
        Self(roles.into_iter().collect())
    }

    /// Whether `role` is among them.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

/// Where a server keeps what it is told.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `CHAT_DATABASE_URL`: the database.
    pub database: Database,
    /// `CHAT_BUS` and `CHAT_KAFKA_*`: what carries events to other processes.
    pub bus: Bus,
    /// `CHAT_RETENTION_DAYS`: how long messages are kept; `None`: for ever.
    pub retention: Option<Duration>,
}

/// A database, by its URL.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// `sqlite:PATH`: a file of this process's own.
    Sqlite(PathBuf),
    /// `postgres://…`: a PostgreSQL server. The URL may hold a password, so it isn't shown.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => f.debug_tuple("Postgres").finish_non_exhaustive(),
        }
    }
}

/// For a person: a file's path, and nothing of a URL.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => f.write_str("the PostgreSQL database"),
        }
    }
}

/// How a server knows its callers.
#[derive(Clone, Debug)]
pub struct Auth {
    /// `CHAT_SIGNING_KEY`: the private key of access tokens, PEM.
    pub signing_key: PathBuf,
    /// `CHAT_VERIFY_KEYS`: more public keys, JWKS.
    pub verify_keys: Option<VerifyKeys>,
    /// `CHAT_ISSUER`: the `iss` of access tokens.
    pub issuer: String,
    /// `CHAT_AUDIENCE`: their `aud`.
    pub audience: String,
    /// `CHAT_ACCESS_TOKEN_SECONDS` and `CHAT_REFRESH_TOKEN_SECONDS`.
    pub lifetimes: Lifetimes,
}

/// Where public keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyKeys {
    /// A file.
    File(PathBuf),
    /// What answers with them, such as role auth's `/.well-known/jwks.json`.
    Url(String),
}

/// What a server logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// `CHAT_LOG`: the filter's directives, checked.
    pub filter: String,
    /// `CHAT_LOG_FORMAT`
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The configuration that these layers make.
    ///
    /// # Errors
    /// The first key that doesn't exist or whose value isn't allowed.
    pub fn load(flags: &Flags, environment: &Environment) -> Result<Self, ConfigError> {
        let settings = Settings::read(flags.config.as_deref(), &flags.settings, environment)?;
        Self::from_settings(&settings)
    }

    /// The effective configuration as a TOML file, with a comment on where each value was said, and secrets masked.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn show(flags: &Flags, environment: &Environment) -> Result<String, ConfigError> {
        let settings = Settings::read(flags.config.as_deref(), &flags.settings, environment)?;
        Self::from_settings(&settings)?;
        Ok(show::toml(&settings))
    }

    fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let read = Reader(settings);
        Ok(Self {
            network: read.network()?,
            roles: read.roles()?,
            drain: read.one(&keys::DRAIN_SECONDS, |t| value::seconds(t, 0..=3_600))?,
            storage: read.storage()?,
            auth: read.auth()?,
            webhook_targets: match read.one(&keys::WEBHOOK_PRIVATE, value::on_off)? {
                true => PrivateTargets::Allowed,
                false => PrivateTargets::Refused,
            },
            limits: read.limits()?,
            rates: read.rates()?,
            log: read.log()?,
        })
    }
}

/// Why a value is refused, if the key's own text on what is allowed doesn't say it.
enum Refused {
    Value,
    Because(&'static str),
}

impl From<()> for Refused {
    fn from((): ()) -> Self {
        Self::Value
    }
}

struct Reader<'a>(&'a Settings);

impl Reader<'_> {
    fn optional<T, E: Into<Refused>>(
        &self,
        key: &Key,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(setting) = self.0.get(key) else {
            return Ok(None);
        };
        match parse(&setting.value) {
            Ok(value) => Ok(Some(value)),
            Err(refused) => {
                let value = if key.secret {
                    "its value".to_owned()
                } else {
                    format!("{:?}", setting.value)
                };
                let name = key.variable();
                let source = setting.source;
                Err(ConfigError::new(match refused.into() {
                    Refused::Value => format!(
                        "{name}: {value} is not allowed ({source}): it must be {}",
                        key.allowed
                    ),
                    Refused::Because(why) => {
                        format!("{name}: {value} is not possible ({source}): {why}")
                    }
                }))
            }
        }
    }

    /// A key that has a default.
    fn one<T, E: Into<Refused>>(
        &self,
        key: &Key,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        self.optional(key, parse)?
            .ok_or_else(|| ConfigError::new(format!("{}: must be set", key.variable())))
    }

    fn network(&self) -> Result<Network, ConfigError> {
        let cert = self.optional(&keys::TLS_CERT, value::path)?;
        let key = self.optional(&keys::TLS_KEY, value::path)?;
        let tls = match (cert, key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (Some(_), None) => return Err(missing(&keys::TLS_KEY, &keys::TLS_CERT)),
            (None, Some(_)) => return Err(missing(&keys::TLS_CERT, &keys::TLS_KEY)),
        };
        Ok(Network {
            listen: self.one(&keys::LISTEN, str::parse)?,
            admin_listen: self.optional(&keys::ADMIN_LISTEN, str::parse)?,
            tls,
            max_connections: self
                .one(&keys::MAX_CONNECTIONS, |t| value::number(t, 1..=1_000_000))?,
            request_timeout: self.one(&keys::REQUEST_SECONDS, |t| value::seconds(t, 1..=3_600))?,
            trusted_proxies: self
                .one(&keys::TRUSTED_PROXIES, |t| value::list(t, value::network))?,
            cors_origins: self.one(&keys::CORS_ORIGINS, |t| value::list(t, value::origin))?,
            web_root: self.optional(&keys::WEB_ROOT, value::path)?,
        })
    }

    fn roles(&self) -> Result<Roles, ConfigError> {
        self.one(&keys::ROLES, |text| {
            if text == "all" {
                return Ok(Roles::all());
            }
            let mut roles = BTreeSet::new();
            for name in text.split(',') {
                roles.insert(match name.trim() {
                    "auth" => Role::Auth,
                    "rest" => Role::Rest,
                    "realtime" => Role::Realtime,
                    "consumer" => Role::Consumer,
                    _ => return Err(Refused::Value),
                });
            }
            Ok(Roles(roles))
        })
    }

    fn storage(&self) -> Result<Storage, ConfigError> {
        let database = self.one(&keys::DATABASE_URL, database)?;
        Ok(Storage {
            bus: self.bus(&database)?,
            database,
            retention: self.one(&keys::RETENTION_DAYS, |text| match text {
                "off" => Ok(None),
                days => value::number(days, 1..=36_500_u64)
                    .map(|days| Some(Duration::from_secs(days * 86_400))),
            })?,
        })
    }

    fn auth(&self) -> Result<Auth, ConfigError> {
        Ok(Auth {
            signing_key: self.one(&keys::SIGNING_KEY, value::path)?,
            verify_keys: self.optional(&keys::VERIFY_KEYS, |text| {
                if text.starts_with("https://") || text.starts_with("http://") {
                    value::url(text).map(VerifyKeys::Url)
                } else {
                    value::path(text).map(VerifyKeys::File)
                }
            })?,
            issuer: self.one(&keys::ISSUER, value::name)?,
            audience: self.one(&keys::AUDIENCE, value::name)?,
            lifetimes: Lifetimes {
                access: self.one(&keys::ACCESS_TOKEN_SECONDS, |t| {
                    value::seconds(t, 1..=86_400)
                })?,
                refresh: self.one(&keys::REFRESH_TOKEN_SECONDS, |t| {
                    value::seconds(t, 1..=31_536_000)
                })?,
            },
        })
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        let count = |key| self.one(key, |t| value::number(t, 1..=1_000_000_i64));
        Ok(Limits {
            rooms_per_user: count(&keys::LIMIT_ROOMS_PER_USER)?,
            members_per_room: count(&keys::LIMIT_MEMBERS_PER_ROOM)?,
            invites_per_room: count(&keys::LIMIT_INVITES_PER_ROOM)?,
            sessions_per_user: count(&keys::LIMIT_SESSIONS_PER_USER)?,
            webhooks_per_room: count(&keys::LIMIT_WEBHOOKS_PER_ROOM)?,
        })
    }

    fn rates(&self) -> Result<Rates, ConfigError> {
        let rate = |key| self.one(key, |t| value::number(t, 1..=1_000_000_u32));
        Ok(Rates {
            enabled: self.one(&keys::RATE_LIMITS, value::on_off)?,
            sends_per_second: rate(&keys::RATE_SENDS_PER_SECOND)?,
            sends_burst: rate(&keys::RATE_SENDS_BURST)?,
            unknown_invites_per_minute: rate(&keys::RATE_UNKNOWN_INVITES_PER_MINUTE)?,
            wrong_passwords_per_minute: rate(&keys::RATE_WRONG_PASSWORDS_PER_MINUTE)?,
            registrations_per_minute: rate(&keys::RATE_REGISTRATIONS_PER_MINUTE)?,
        })
    }

    fn log(&self) -> Result<Log, ConfigError> {
        Ok(Log {
            filter: self.one(&keys::LOG, |text| {
                EnvFilter::try_new(text)
                    .map(|_| text.to_owned())
                    .map_err(drop)
            })?,
            format: self.one(&keys::LOG_FORMAT, |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err(()),
            })?,
        })
    }
}

fn missing(key: &Key, because: &Key) -> ConfigError {
    ConfigError::new(format!(
        "{}: must be set where {} is: {}",
        key.variable(),
        because.variable(),
        key.allowed
    ))
}

fn database(text: &str) -> Result<Database, Refused> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        #[cfg(feature = "postgres")]
        return Ok(Database::Postgres(text.to_owned()));
        #[cfg(not(feature = "postgres"))]
        return Err(Refused::Because(
            "this build has no PostgreSQL support: build it with feature `postgres`",
        ));
    }
    sqlite_path(text).map(Database::Sqlite)
}

/// The file of `sqlite:PATH`. `sqlite://PATH` means the same, as sqlx has it.
fn sqlite_path(text: &str) -> Result<PathBuf, Refused> {
    let path = text.strip_prefix("sqlite:").ok_or(Refused::Value)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with(':') || path.contains('?') || path.contains('\0') {
        return Err(Refused::Value);
    }
    if path.is_empty() || Path::new(path).file_name().is_none() {
        return Err(Refused::Value);
    }
    Ok(path.into())
}
