//! The layers of settings, without a process's environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chat_server::Config;
use chat_server::config::{Bus, Database, Flags, LogFormat, Role, VerifyKeys, keys};

use crate::harness::environment;

fn flags(settings: &[(&str, &str)]) -> Flags {
    Flags {
        config: None,
        settings: settings
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    }
}

fn load(variables: &[(&str, &str)]) -> Result<Config, String> {
    Config::load(&Flags::default(), &environment(variables)).map_err(|e| e.to_string())
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("chat.toml");
    std::fs::write(&path, text).expect("written");
    (directory, path)
}

fn load_file(text: &str) -> Result<Config, String> {
    let (_directory, path) = file(text);
    load(&[("CHAT_CONFIG", path.to_str().expect("text"))])
}

#[test]
fn the_defaults_are_those_of_a_laptop() {
    let config = load(&[]).expect("the defaults");
    assert_eq!(config.network.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.storage.database, Database::Sqlite("chat.db".into()));
    assert_eq!(config.auth.signing_key, Path::new("chat-signing-key.pem"));
    assert!(
        [Role::Auth, Role::Rest, Role::Realtime]
            .iter()
            .all(|role| config.roles.has(*role))
    );
    assert_eq!(
        config.auth.lifetimes,
        chat_core::model::limits::Lifetimes::default()
    );
    assert_eq!(config.limits, chat_core::model::limits::Limits::default());
    assert_eq!(config.rates, chat_core::model::limits::Rates::default());
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn flags_come_before_the_environment_before_the_file_before_defaults() {
    let (_directory, path) =
        file("listen = \"h:1\"\naudience = \"file\"\nissuer = \"file\"\ndrain_seconds = 5\n");
    let environment = environment(&[("CHAT_LISTEN", "h:2"), ("CHAT_AUDIENCE", "variable")]);
    let mut flags = flags(&[("listen", "h:3")]);
    flags.config = Some(path);
    let config = Config::load(&flags, &environment).expect("a configuration");
    assert_eq!(config.network.listen.to_string(), "h:3");
    assert_eq!(config.auth.audience, "variable");
    assert_eq!(config.auth.issuer, "file");
    assert_eq!(config.drain, Duration::from_secs(5));
    assert_eq!(config.network.request_timeout, Duration::from_secs(30));
}

#[test]
fn the_file_has_tables_lists_numbers_and_switches() {
    let config = load_file(
        "roles = [\"auth\", \"rest\"]\nrate_limits = false\nretention_days = 30\n\
         trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n[limit]\nrooms_per_user = 7\n",
    )
    .expect("a configuration");
    assert!(!config.roles.has(Role::Realtime));
    assert!(!config.rates.enabled);
    assert_eq!(
        config.storage.retention,
        Some(Duration::from_secs(30 * 86_400))
    );
    assert_eq!(config.network.trusted_proxies.len(), 2);
    assert_eq!(config.network.tls.expect("TLS").key, Path::new("k.pem"));
    assert_eq!(config.limits.rooms_per_user, 7);
}

#[test]
fn an_unknown_key_stops_the_start_and_names_its_neighbour() {
    for (error, key, neighbour) in [
        (load(&[("CHAT_LISTN", "x")]), "CHAT_LISTN", "CHAT_LISTEN"),
        (load(&[("CHAT_listen", "x")]), "CHAT_listen", "CHAT_LISTEN"),
        (
            load(&[("CHAT_KAFKA_BROKER", "x")]),
            "CHAT_KAFKA_BROKER",
            "CHAT_KAFKA_BROKERS",
        ),
        (
            load(&[("CHAT_ISSUER_FILE", "x")]),
            "CHAT_ISSUER_FILE",
            "config",
        ),
        (load_file("listn = \"x\""), "listn", "listen"),
        (
            load_file("[tls]\ncertificate = \"x\""),
            "tls_certificate",
            "config",
        ),
        (load_file("config = \"x\""), "config", "config"),
    ] {
        let error = error.expect_err(key);
        assert!(error.contains(key) && error.contains(neighbour), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn variables_that_kubernetes_sets_are_explained() {
    for name in ["CHAT_SERVICE_HOST", "CHAT_PORT", "CHAT_PORT_80_TCP_ADDR"] {
        let error = load(&[(name, "tcp://10.0.0.1:80")]).expect_err(name);
        assert!(error.contains("enableServiceLinks"), "{error}");
    }
}

#[test]
fn the_clients_variables_and_those_of_others_are_left_alone() {
    let others = [
        ("CHAT_SERVER", "x"),
        ("CHAT_TOKEN", "x"),
        ("CHAT_PROFILE", "x"),
        ("CHAT_NO_COLOR", "1"),
        ("CHATTER", "x"),
        ("PATH", "/bin"),
        ("chat_listen", "x"),
    ];
    load(&others).expect("not ours");
}

#[test]
fn a_bad_value_stops_the_start_and_says_what_is_allowed() {
    for (key, values) in [
        (
            &keys::LISTEN,
            &["", "8080", ":80", "a:b", "a:65536", "::1:80"][..],
        ),
        (&keys::ADMIN_LISTEN, &["", "x"]),
        (&keys::MAX_CONNECTIONS, &["0", "-1", "x", "1000001", ""]),
        (&keys::REQUEST_SECONDS, &["0", "3601", "1s"]),
        (
            &keys::TRUSTED_PROXIES,
            &["10.0.0.0/33", "host", "10.0.0.0/8,"],
        ),
        (&keys::CORS_ORIGINS, &["*", "example.com", "https://a/b"]),
        (&keys::ROLES, &["", "none", "auth,", "all,auth"]),
        (&keys::DRAIN_SECONDS, &["-1", "x"]),
        (
            &keys::DATABASE_URL,
            &[
                "",
                "chat.db",
                "sqlite:",
                "sqlite::memory:",
                "sqlite:a?mode=ro",
                "mysql://x",
            ],
        ),
        (&keys::BUS, &["", "nats"]),
        (&keys::RETENTION_DAYS, &["0", "on", "-1"]),
        (&keys::SIGNING_KEY, &[""]),
        (&keys::ISSUER, &["", "a\nb"]),
        (&keys::ACCESS_TOKEN_SECONDS, &["0", "86401"]),
        (&keys::RATE_LIMITS, &["true", "ON", ""]),
        (&keys::RATE_SENDS_PER_SECOND, &["0", "x"]),
        (&keys::LIMIT_ROOMS_PER_USER, &["0", "1.5"]),
        (&keys::LOG, &["chat=nonsense"]),
        (&keys::LOG_FORMAT, &["xml"]),
    ] {
        for value in values {
            let error = load(&[(&key.variable(), value)]).expect_err(key.name);
            assert!(error.starts_with(&key.variable()), "{error}");
            assert!(error.contains(key.allowed), "{error}");
            assert_eq!(
                error.contains(&format!("{value:?}")),
                !key.secret,
                "{error}"
            );
        }
    }
}

#[test]
fn the_bus_is_what_the_database_has_unless_said_otherwise() {
    let bus = |variables: &[(&str, &str)]| load(variables).map(|config| config.storage.bus);
    let postgres = ("CHAT_DATABASE_URL", "postgres://chat@db/chat");
    assert!(matches!(bus(&[]), Ok(Bus::Local)));
    assert!(matches!(bus(&[postgres]), Ok(Bus::Postgres)));
    assert!(matches!(
        bus(&[postgres, ("CHAT_BUS", "local")]),
        Ok(Bus::Local)
    ));
    let error = bus(&[("CHAT_BUS", "postgres")]).expect_err("no such database");
    assert!(error.contains("CHAT_DATABASE_URL"), "{error}");
}

#[cfg(feature = "kafka")]
#[test]
fn kafka_is_told_where_it_is_and_how_to_log_in() {
    let kafka = ("CHAT_BUS", "kafka");
    let brokers = ("CHAT_KAFKA_BROKERS", "kafka-1:9092, [::1]:9093");
    let load_kafka = |more: &[(&str, &str)]| load(&[&[kafka, brokers], more].concat());
    let Bus::Kafka(settings) = load_kafka(&[]).expect("enough").storage.bus else {
        panic!("another bus");
    };
    assert_eq!(settings.brokers, "kafka-1:9092,[::1]:9093");
    assert_eq!(settings.topic, "chat.events");
    for (rack, is) in [("zone-a", Some("zone-a")), ("", None)] {
        let config = load_kafka(&[("CHAT_KAFKA_CLIENT_RACK", rack)]);
        let Bus::Kafka(settings) = config.expect("enough").storage.bus else {
            panic!("another bus");
        };
        assert_eq!(settings.client_rack.as_deref(), is);
    }

    let error = load(&[kafka]).expect_err("no brokers");
    assert!(error.starts_with("CHAT_KAFKA_BROKERS"), "{error}");
    for (key, value) in [
        ("CHAT_KAFKA_BROKERS", "kafka"),
        ("CHAT_KAFKA_BROKERS", "kafka:0"),
        ("CHAT_KAFKA_BROKERS", ""),
        ("CHAT_KAFKA_SECURITY_PROTOCOL", "tls"),
        ("CHAT_KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("CHAT_KAFKA_USERNAME", ""),
        ("CHAT_KAFKA_CA", ""),
    ] {
        let error = load_kafka(&[(key, value)]).expect_err(key);
        assert!(error.starts_with(key), "{error}");
    }
    let sasl = [
        ("CHAT_KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
        ("CHAT_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        ("CHAT_KAFKA_USERNAME", "chat"),
        ("CHAT_KAFKA_PASSWORD", "hunter2"),
    ];
    let config = load_kafka(&sasl).expect("enough");
    assert!(!format!("{config:?}").contains("hunter2"));
    for missing in 1..sasl.len() {
        let mut less = sasl.to_vec();
        let (key, _) = less.remove(missing);
        let error = load_kafka(&less).expect_err(key);
        assert!(
            error.starts_with(key) && !error.contains("hunter2"),
            "{error}"
        );
    }
    // What another bus doesn't have is a mistake.
    let error = load(&[brokers]).expect_err("not Kafka");
    assert!(error.contains("CHAT_BUS"), "{error}");
}

#[test]
fn public_keys_are_in_a_file_or_at_a_url() {
    let keys = |value| load(&[("CHAT_VERIFY_KEYS", value)]).map(|c| c.auth.verify_keys);
    let url = "https://auth.example.com/.well-known/jwks.json";
    assert_eq!(keys(url), Ok(Some(VerifyKeys::Url(url.into()))));
    let file = VerifyKeys::File("keys/public.json".into());
    assert_eq!(keys("keys/public.json"), Ok(Some(file)));
    for bad in ["https://", "http://chat:hunter2@auth/", ""] {
        assert!(keys(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_password_of_the_database_is_not_shown() {
    let url = "postgres://chat:hunter2@db/chat";
    let config = load(&[("CHAT_DATABASE_URL", url)]).expect("a URL");
    assert_eq!(config.storage.database, Database::Postgres(url.into()));
    let environment = environment(&[("CHAT_DATABASE_URL", url)]);
    let shown = Config::show(&flags(&[]), &environment).expect("a URL");
    for text in [format!("{config:?}"), shown] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn half_a_certificate_is_refused() {
    let error = load(&[("CHAT_TLS_CERT", "c.pem")]).expect_err("half");
    assert!(error.contains("CHAT_TLS_KEY"), "{error}");
    let error = load(&[("CHAT_TLS_KEY", "k.pem")]).expect_err("half");
    assert!(error.contains("CHAT_TLS_CERT"), "{error}");
}

#[test]
fn a_secret_comes_from_a_file_without_its_line_break() {
    let (_directory, path) = file("sqlite:/var/lib/chat.db\r\n");
    let path = path.to_str().expect("text");
    let config = load(&[("CHAT_DATABASE_URL_FILE", path)]).expect("read");
    let database = Database::Sqlite("/var/lib/chat.db".into());
    assert_eq!(config.storage.database, database);
    let both = load(&[
        ("CHAT_DATABASE_URL_FILE", path),
        ("CHAT_DATABASE_URL", "sqlite:x"),
    ]);
    assert!(both.expect_err("both").contains("CHAT_DATABASE_URL_FILE"));
    let missing = load(&[("CHAT_DATABASE_URL_FILE", "/nowhere/secret")]);
    assert!(missing.expect_err("missing").contains("/nowhere/secret"));
    // A higher layer's direct value wins over a lower one's file.
    let environment = environment(&[("CHAT_DATABASE_URL_FILE", path)]);
    let config =
        Config::load(&flags(&[("database_url", "sqlite:flag.db")]), &environment).expect("read");
    assert_eq!(config.storage.database, Database::Sqlite("flag.db".into()));
}

#[test]
fn a_file_that_is_no_configuration_is_refused_with_its_line() {
    for (text, part) in [
        ("listen = \"h:1\"\nissuer", "line 2"),
        ("drain_seconds = 1.5", "drain_seconds"),
        ("[tls]\ncert = \"c\"\n[tls]\nkey = \"k\"", "line 3"),
        ("tls_cert = \"a\"\n[tls]\ncert = \"b\"", "twice"),
    ] {
        let error = load_file(text).expect_err(text);
        assert!(
            error.contains("chat.toml") && error.contains(part) && !error.contains('\n'),
            "{error}"
        );
    }
    let error = load(&[("CHAT_CONFIG", "/nowhere/chat.toml")]).expect_err("missing");
    assert!(error.contains("/nowhere/chat.toml"), "{error}");
}

#[test]
fn what_is_shown_says_where_it_was_said_and_loads_to_the_same() {
    let environment = environment(&[
        ("CHAT_ISSUER", "me \"and\" you"),
        ("CHAT_ROLES", "auth,rest"),
    ]);
    let shown = Config::show(&flags(&[("drain_seconds", "3")]), &environment).expect("shown");
    assert!(
        shown.contains("drain_seconds = \"3\" # flag --drain-seconds"),
        "{shown}"
    );
    assert!(
        shown.contains("roles = \"auth,rest\" # environment CHAT_ROLES"),
        "{shown}"
    );
    assert!(
        shown.contains("listen = \"127.0.0.1:8080\" # default"),
        "{shown}"
    );
    let config = load_file(&shown).expect("what is shown is a configuration");
    assert_eq!(config.auth.issuer, "me \"and\" you");
    assert_eq!(config.drain, Duration::from_secs(3));
    assert!(!config.roles.has(Role::Realtime));
}
