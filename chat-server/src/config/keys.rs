//! Every setting once: its name, what it is for, what it may be, and its default.
//!
//! A key `listen` is the flag `--listen`, the variable `CHAT_LISTEN` and the TOML key `listen`. TOML tables are spelled
//! out: `[tls] cert = …` is `tls_cert`.

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// The TOML key; flag and variable are made of it.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What it may be, for a person who typed something else.
    pub allowed: &'static str,
    /// What it is when nobody says; `None`: nothing.
    pub default: Option<&'static str>,
    /// Whether its value must not be shown, and may come from the file that `<KEY>_FILE` names.
    pub secret: bool,
}

impl Key {
    /// The environment variable: `CHAT_LISTEN`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("CHAT_{}", self.name.to_ascii_uppercase())
    }

    /// The flag without its dashes: `admin-listen`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

macro_rules! keys {
    ($($(#[secret = $secret:literal])? $const:ident = $name:literal, $about:literal, $allowed:literal $(, default $default:literal)?;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $about, ".")]
            pub const $const: Key = Key {
                name: $name,
                about: $about,
                allowed: $allowed,
                default: keys!(@default $($default)?),
                secret: keys!(@secret $($secret)?),
            };
        )*

        /// All settings, in the order in which they are shown.
        pub const ALL: &[Key] = &[$($const),*];
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
    (@secret) => { false };
    (@secret $secret:literal) => { $secret };
}

keys! {
    LISTEN = "listen", "Where to listen; port 0 picks one",
        "HOST:PORT, such as 127.0.0.1:8080 or [::]:8080", default "127.0.0.1:8080";
    ADMIN_LISTEN = "admin_listen", "Where to serve health and metrics, apart from the public port",
        "HOST:PORT, such as 127.0.0.1:9090";
    TLS_CERT = "tls_cert", "The certificate chain for HTTPS", "the path of a PEM file";
    TLS_KEY = "tls_key", "The certificate's private key", "the path of a PEM file";
    MAX_CONNECTIONS = "max_connections", "Connections held at once; more wait in the system's queue",
        "a number from 1 to 1000000", default "100000";
    REQUEST_SECONDS = "request_seconds", "How long a REST request may take",
        "a number of seconds from 1 to 3600", default "30";
    TRUSTED_PROXIES = "trusted_proxies", "Proxies whose X-Forwarded-For counts",
        "addresses or networks, separated by commas, such as 10.0.0.0/8,::1", default "";
    CORS_ORIGINS = "cors_origins", "Web origins that may call from a browser",
        "origins, separated by commas, such as https://chat.example.com", default "";
    WEB_ROOT = "web_root", "Static files to serve beside the calls, such as the chat page's",
        "the path of a folder with an index.html";

    ROLES = "roles", "What this process serves", "all, or a list of auth, rest, realtime and consumer", default "all";
    DRAIN_SECONDS = "drain_seconds", "How long a stopping server lets what it began end",
        "a number of seconds from 0 to 3600", default "20";

    #[secret = true]
    DATABASE_URL = "database_url", "The database", "sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE", default "sqlite:chat.db";
    BUS = "bus", "What carries events between processes; by default local with SQLite and postgres with PostgreSQL",
        "local, postgres or kafka";
    KAFKA_BROKERS = "kafka_brokers", "The brokers of the Kafka bus", "a list of HOST:PORT, such as kafka-1:9092,kafka-2:9092";
    KAFKA_SECURITY_PROTOCOL = "kafka_security_protocol", "How the Kafka bus connects",
        "plaintext, ssl, sasl_plaintext or sasl_ssl";
    KAFKA_SASL_MECHANISM = "kafka_sasl_mechanism", "How the Kafka bus logs in",
        "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
    KAFKA_USERNAME = "kafka_username", "Who the Kafka bus logs in as", "1 to 255 characters";
    #[secret = true]
    KAFKA_PASSWORD = "kafka_password", "The password of the Kafka bus", "1 to 4096 characters";
    KAFKA_CA = "kafka_ca", "The authorities that vouch for the brokers; by default the system's", "the path of a PEM file";
    KAFKA_CLIENT_RACK = "kafka_client_rack", "Where this process stands, to read from brokers nearby",
        "up to 255 characters";
    RETENTION_DAYS = "retention_days", "How many days messages are kept",
        "off, or a number of days from 1 to 36500", default "off";

    SIGNING_KEY = "signing_key", "The Ed25519 private key that signs access tokens; made where missing with SQLite",
        "the path of a PEM file", default "chat-signing-key.pem";
    VERIFY_KEYS = "verify_keys", "Public keys that access tokens are also verified with; read again every 30 s",
        "the path of a JWKS file, or its URL, such as https://auth.example.com/.well-known/jwks.json";
    ISSUER = "issuer", "The issuer of access tokens", "1 to 255 characters", default "chat";
    AUDIENCE = "audience", "Whom access tokens are for", "1 to 255 characters", default "chat";
    ACCESS_TOKEN_SECONDS = "access_token_seconds", "How long an access token lives",
        "a number of seconds from 1 to 86400", default "900";
    REFRESH_TOKEN_SECONDS = "refresh_token_seconds", "How long a refresh token lives",
        "a number of seconds from 1 to 31536000", default "2592000";

    WEBHOOK_PRIVATE = "webhook_private", "Whether webhooks may go to private addresses", "on or off", default "off";

    RATE_LIMITS = "rate_limits", "Whether any rate is limited; off for load tests", "on or off", default "on";
    RATE_SENDS_PER_SECOND = "rate_sends_per_second", "Messages a second a user may send in the long run",
        "a number from 1 to 1000000", default "20";
    RATE_SENDS_BURST = "rate_sends_burst", "Messages a user may send at once",
        "a number from 1 to 1000000", default "60";
    RATE_UNKNOWN_INVITES_PER_MINUTE = "rate_unknown_invites_per_minute", "Unknown invites a minute a user may try",
        "a number from 1 to 1000000", default "10";
    RATE_WRONG_PASSWORDS_PER_MINUTE = "rate_wrong_passwords_per_minute",
        "Wrong passwords a minute, for an account and for an address",
        "a number from 1 to 1000000", default "10";
    RATE_REGISTRATIONS_PER_MINUTE = "rate_registrations_per_minute", "Registrations a minute an address",
        "a number from 1 to 1000000", default "30";

    LIMIT_ROOMS_PER_USER = "limit_rooms_per_user", "Rooms one user can be in",
        "a number from 1 to 1000000", default "1000";
    LIMIT_MEMBERS_PER_ROOM = "limit_members_per_room", "Members one room can have",
        "a number from 1 to 1000000", default "10000";
    LIMIT_INVITES_PER_ROOM = "limit_invites_per_room", "Invites of one room that still admit someone",
        "a number from 1 to 1000000", default "100";
    LIMIT_SESSIONS_PER_USER = "limit_sessions_per_user", "Sessions of one user; the one longest unused ends",
        "a number from 1 to 1000000", default "50";
    LIMIT_WEBHOOKS_PER_ROOM = "limit_webhooks_per_room", "Webhooks of one room",
        "a number from 1 to 1000000", default "20";

    LOG = "log", "What is logged, and from which level", "a filter such as info or warn,chat_server=debug",
        default "info";
    LOG_FORMAT = "log_format", "How log lines are written", "text or json", default "text";

}

/// Variables that begin like ours and belong to the terminal client.
pub(super) const CLIENT_VARIABLES: [&str; 4] =
    ["CHAT_SERVER", "CHAT_TOKEN", "CHAT_PROFILE", "CHAT_NO_COLOR"];

/// The variable that names the TOML file.
pub(super) const CONFIG_VARIABLE: &str = "CHAT_CONFIG";
