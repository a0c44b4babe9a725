//! Typed ids, and the place of a change in its room.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

/// The largest id or `seq`: integers beyond it are not exact in JavaScript.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// Reads an integer from any form a client may write it in: signed, unsigned, or a float with no fraction (Java's Gson
/// writes an id that it read as an object as `7.0`).
pub(crate) struct IntegerVisitor;

impl de::Visitor<'_> for IntegerVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<i64, E> {
        Ok(v)
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<i64, E> {
        // An integer beyond what an id can be is nobody's id, which is an answer of its own, not a malformed one.
        Ok(i64::try_from(v).unwrap_or(i64::MAX))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<i64, E> {
        if v.fract() == 0.0 && v.abs() <= i64::MAX as f64 {
            Ok(v as i64)
        } else {
            Err(E::invalid_value(de::Unexpected::Float(v), &self))
        }
    }
}

pub(crate) fn deserialize_integer<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    d.deserialize_any(IntegerVisitor)
}

macro_rules! integer {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = i64))]
        pub struct $name(pub i64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                deserialize_integer(d).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }

        impl From<i64> for $name {
            fn from(v: i64) -> Self {
                Self(v)
            }
        }
    };
}

integer!(
    /// A user's id, made by the database.
    UserId
);
integer!(
    /// A room's id, made by the database.
    RoomId
);
integer!(
    /// A message's id, made by the database. It says nothing of order: that is `seq`.
    MessageId
);
integer!(
    /// An invite's id, made by the database.
    InviteId
);
integer!(
    /// A login session's id, made by the database.
    SessionId
);
integer!(
    /// A webhook's id, made by the database.
    WebhookId
);
integer!(
    /// The id of an event's delivery to a webhook, made by the database.
    DeliveryId
);
integer!(
    /// The place of a change in its room: 1, 2, 3 … without a hole. 0 is before the first.
    Seq
);

impl Seq {
    /// Before the first change of a room.
    pub const ZERO: Self = Self(0);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integral_float_is_an_integer() {
        assert_eq!(
            serde_json::from_str::<RoomId>("7.0").expect("integral"),
            RoomId(7)
        );
        assert!(serde_json::from_str::<RoomId>("7.5").is_err());
        assert!(serde_json::from_str::<RoomId>("\"7\"").is_err());
    }

    #[test]
    fn an_integer_too_large_is_read_as_nobodys_id() {
        assert_eq!(
            serde_json::from_str::<RoomId>("18446744073709551615").expect("read"),
            RoomId(i64::MAX)
        );
    }
}
