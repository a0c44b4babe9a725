//! What carries events to other processes, and how it is reached.

#[cfg(feature = "kafka")]
use chat_core::bus::kafka::KafkaSettings;

use super::keys::{self, Key};
use super::{ConfigError, Database, Reader, Refused};
#[cfg(feature = "kafka")]
use super::{missing, value};

/// `CHAT_BUS`: what carries events to other processes.
#[derive(Clone, Debug)]
pub enum Bus {
    /// Nothing: this process is alone on its database.
    Local,
    /// The PostgreSQL database that they share.
    #[cfg(feature = "postgres")]
    Postgres,
    /// Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(KafkaSettings),
}

/// What only the Kafka bus has.
const OF_KAFKA: [&Key; 7] = [
    &keys::KAFKA_BROKERS,
    &keys::KAFKA_SECURITY_PROTOCOL,
    &keys::KAFKA_SASL_MECHANISM,
    &keys::KAFKA_USERNAME,
    &keys::KAFKA_PASSWORD,
    &keys::KAFKA_CA,
    &keys::KAFKA_CLIENT_RACK,
];

/// The same without its settings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Postgres,
    Kafka,
}

impl Reader<'_> {
    pub(super) fn bus(&self, database: &Database) -> Result<Bus, ConfigError> {
        let with_postgres = !matches!(database, Database::Sqlite(_));
        let said = self.optional(&keys::BUS, |text| match text {
            "local" => Ok(Kind::Local),
            "postgres" if with_postgres => Ok(Kind::Postgres),
            "postgres" => Err(Refused::Because(
                "this bus is in a PostgreSQL database, and CHAT_DATABASE_URL names none",
            )),
            #[cfg(feature = "kafka")]
            "kafka" => Ok(Kind::Kafka),
            #[cfg(not(feature = "kafka"))]
            "kafka" => Err(Refused::Because(
                "this build has no Kafka support: build it with feature `kafka`",
            )),
            _ => Err(Refused::Value),
        })?;
        let kind = said.unwrap_or(if with_postgres {
            Kind::Postgres
        } else {
            Kind::Local
        });
        if kind != Kind::Kafka {
            for key in OF_KAFKA {
                self.optional(key, |_| {
                    Err::<(), _>(Refused::Because("it is for CHAT_BUS=kafka alone"))
                })?;
            }
        }
        match kind {
            Kind::Local => Ok(Bus::Local),
            #[cfg(feature = "postgres")]
            Kind::Postgres => Ok(Bus::Postgres),
            #[cfg(feature = "kafka")]
            Kind::Kafka => self.kafka().map(Bus::Kafka),
            #[cfg(not(all(feature = "postgres", feature = "kafka")))]
            _ => Err(ConfigError::new("this build lacks that bus".to_owned())),
        }
    }

    #[cfg(feature = "kafka")]
    fn kafka(&self) -> Result<KafkaSettings, ConfigError> {
        let brokers = self.optional(&keys::KAFKA_BROKERS, |text| {
            let brokers = value::list(text, |broker| {
                let address: super::Address = broker.parse()?;
                if address.port > 0 {
                    Ok(address.to_string())
                } else {
                    Err(())
                }
            })?;
            if brokers.is_empty() {
                Err(())
            } else {
                Ok(brokers.join(","))
            }
        })?;
        let brokers = brokers.ok_or_else(|| missing(&keys::KAFKA_BROKERS, &keys::BUS))?;
        let one_of = |key, allowed: &[&str]| {
            self.optional(key, |text| {
                let found = allowed.contains(&text).then(|| text.to_owned());
                found.ok_or(())
            })
        };
        let mut kafka = KafkaSettings::new(brokers);
        kafka.security_protocol = one_of(
            &keys::KAFKA_SECURITY_PROTOCOL,
            &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"],
        )?;
        kafka.sasl_mechanism = one_of(
            &keys::KAFKA_SASL_MECHANISM,
            &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        )?;
        kafka.username = self.optional(&keys::KAFKA_USERNAME, value::name)?;
        kafka.password = self.optional(&keys::KAFKA_PASSWORD, |text| {
            let fits = (1..=4_096).contains(&text.len()) && !text.contains('\0');
            fits.then(|| text.to_owned()).ok_or(())
        })?;
        kafka.ca = self.optional(&keys::KAFKA_CA, value::path)?;
        // Empty where an orchestrator knows of no zone.
        let rack = self.optional(&keys::KAFKA_CLIENT_RACK, |text| {
            let is_known = !text.is_empty();
            is_known.then(|| value::name(text)).transpose()
        })?;
        kafka.client_rack = rack.flatten();
        let protocol = kafka.security_protocol.as_deref();
        if protocol.is_some_and(|p| p.starts_with("sasl_")) {
            for (key, is_missing) in [
                (&keys::KAFKA_SASL_MECHANISM, kafka.sasl_mechanism.is_none()),
                (&keys::KAFKA_USERNAME, kafka.username.is_none()),
                (&keys::KAFKA_PASSWORD, kafka.password.is_none()),
            ] {
                if is_missing {
                    return Err(missing(key, &keys::KAFKA_SECURITY_PROTOCOL));
                }
            }
        }
        Ok(kafka)
    }
}
