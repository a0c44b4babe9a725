//! Points in time, and where they come from.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time, UTC, in milliseconds since 1970. On the wire RFC 3339 with milliseconds: `2026-01-31T12:00:00.000Z`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000Z"))]
pub struct Timestamp(i64);

/// The last moment RFC 3339 can write with a year of four digits.
const MAX_MILLIS: i64 = 253_402_207_200_000;

impl Timestamp {
    /// The time `ms` milliseconds after 1970, held within the years that RFC 3339 can write.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        if ms < 0 {
            Self(0)
        } else if ms > MAX_MILLIS {
            Self(MAX_MILLIS)
        } else {
            Self(ms)
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, as JWT's numeric dates want them.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time `d` later.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The time `d` earlier.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero if it isn't.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Writes the RFC 3339 form, always 24 bytes, into `out` and returns it as text: no allocation on the hot path.
    fn write(self, out: &mut [u8; 24]) -> &str {
        const TEMPLATE: [u8; 24] = *b"0000-00-00T00:00:00.000Z";
        *out = TEMPLATE;
        let ms = self.0;
        let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
        let at = jiff::tz::Offset::UTC.to_datetime(at);
        digits(&mut out[0..4], i64::from(at.year()));
        digits(&mut out[5..7], i64::from(at.month()));
        digits(&mut out[8..10], i64::from(at.day()));
        digits(&mut out[11..13], i64::from(at.hour()));
        digits(&mut out[14..16], i64::from(at.minute()));
        digits(&mut out[17..19], i64::from(at.second()));
        digits(&mut out[20..23], i64::from(at.millisecond()));
        std::str::from_utf8(out).unwrap_or("1970-01-01T00:00:00.000Z")
    }
}

/// Fills `out` with the decimal digits of `n`, zeros in front.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn digits(out: &mut [u8], mut n: i64) {
    for b in out.iter_mut().rev() {
        *b = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; 24]))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.write(&mut [0; 24]))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Timestamp, E> {
                let at: jiff::Timestamp = v
                    .parse()
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(v), &self))?;
                Ok(Timestamp::from_millis(at.as_millisecond()))
            }
        }
        d.deserialize_str(Visitor)
    }
}

/// Where wall time comes from. The library never asks the system itself, so that a simulation can hold the clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that asks the system
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that goes on only when it is told to: for tests.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct ManualClock(std::sync::atomic::AtomicI64);

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// A clock that stands in January 2026.
    #[must_use]
    pub fn shared() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self(std::sync::atomic::AtomicI64::new(1_767_225_600_000)))
    }

    /// Goes on by `d`.
    pub fn advance(&self, d: Duration) {
        self.set(self.now().plus(d));
    }

    /// Goes back by `d`, as a clock does that was ahead.
    pub fn set_back(&self, d: Duration) {
        self.set(self.now().minus(d));
    }

    fn set(&self, to: Timestamp) {
        self.0.store(to.0, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_with_milliseconds_in_utc() {
        assert_eq!(
            Timestamp::from_millis(1_769_860_800_007).to_string(),
            "2026-01-31T12:00:00.007Z"
        );
        assert_eq!(
            Timestamp::from_millis(0).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string().len(), 24);
    }

    #[test]
    fn a_time_reads_back_as_written() {
        for ms in [0, 1, 999, 1_769_860_800_007, MAX_MILLIS] {
            let at = Timestamp::from_millis(ms);
            let text = serde_json::to_string(&at).expect("written");
            assert_eq!(serde_json::from_str::<Timestamp>(&text).expect("read"), at);
        }
    }
}
