//! Limits on what can be guessed or flooded ([`Rates`]), each for its own key. They are this node's alone.

mod per_minute;
mod steady;
mod throttle;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

pub use self::per_minute::Attempt;
use self::per_minute::PerMinute;
use self::steady::SteadyClock;
use self::throttle::Throttle;
use super::Error;
use crate::model::limits::Rates;
use crate::model::{Clock, UserId};
use crate::store::TokenHash;

/// How long an attempt waits for others under way at the same account or address.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a request came from, as far as limits tell addresses apart: an IPv4 address, or an IPv6 network of 64 bits, which
/// is what one household or machine is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceAddress(IpAddr);

impl SourceAddress {
    /// The address in its 16-byte form.
    pub(super) const fn octets(self) -> [u8; 16] {
        match self.0 {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        }
    }
}

impl From<IpAddr> for SourceAddress {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from(network))
            }
        })
    }
}

/// Whose wrong passwords are counted together, beside those of an [`SourceAddress`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AccountKey {
    /// An account's, from an address that it logged in from of late: so strangers can't lock its owner out.
    Familiar(UserId, SourceAddress),
    /// An account's, from all other addresses.
    Strangers(UserId),
    /// Those of an e-mail address without an account, which must look like one with.
    Nobody(TokenHash),
}

/// All limits of one node. With [`Rates::enabled`] off nothing is refused.
#[derive(Debug)]
pub struct RateLimits {
    sends: Option<Throttle<UserId>>,
    unknown_invites: PerMinute<UserId>,
    wrong_passwords_from: PerMinute<SourceAddress>,
    wrong_passwords_of: PerMinute<AccountKey>,
    registrations: PerMinute<SourceAddress>,
}

impl RateLimits {
    /// Limits at these rates, which go by this clock.
    #[must_use]
    pub fn new(rates: &Rates, clock: &Arc<dyn Clock>) -> Self {
        let clock = SteadyClock::new(Arc::clone(clock));
        let limit = |n| rates.enabled.then_some(n);
        Self {
            sends: limit(rates.sends_per_second)
                .map(|n| Throttle::new(n, rates.sends_burst, clock.clone())),
            unknown_invites: PerMinute::new(limit(rates.unknown_invites_per_minute), &clock),
            wrong_passwords_from: PerMinute::new(limit(rates.wrong_passwords_per_minute), &clock),
            wrong_passwords_of: PerMinute::new(limit(rates.wrong_passwords_per_minute), &clock),
            registrations: PerMinute::new(limit(rates.registrations_per_minute), &clock),
        }
    }

    /// Takes one send of a user.
    ///
    /// # Errors
    /// `rate_limited`
    pub fn send(&self, user: UserId) -> Result<(), Error> {
        self.sends
            .as_ref()
            .map_or(Ok(()), |sends| sends.check(&user))
            .map_err(|wait| Error::rate_limited("you send too fast: slow down", wait))
    }

    /// Begins a try of an invite, which counts only if the invite turns out to be unknown ([`Attempt::count`]).
    ///
    /// # Errors
    /// `rate_limited` after too many unknown ones; `unavailable` if for 5 s too many were being tried at once.
    pub async fn invite(&self, user: UserId) -> Result<Attempt<'_, UserId>, Error> {
        begin(
            &self.unknown_invites,
            &user,
            "you tried too many unknown invites",
        )
        .await
    }

    /// Begins a try of a password from an address, which counts only if the password turns out to be wrong.
    ///
    /// # Errors
    /// As [`RateLimits::invite`].
    pub(super) async fn password_from(
        &self,
        from: SourceAddress,
    ) -> Result<Attempt<'_, SourceAddress>, Error> {
        begin(&self.wrong_passwords_from, &from, WRONG_PASSWORDS).await
    }

    /// Begins a try of an account's password, which counts only if the password turns out to be wrong. To be called with
    /// [`RateLimits::password_from`]'s attempt in hand: in one order, two attempts never wait for each other.
    ///
    /// # Errors
    /// As [`RateLimits::invite`].
    pub(super) async fn password_of(
        &self,
        account: &AccountKey,
    ) -> Result<Attempt<'_, AccountKey>, Error> {
        begin(&self.wrong_passwords_of, account, WRONG_PASSWORDS).await
    }

    /// Takes one registration from an address.
    ///
    /// # Errors
    /// `rate_limited`
    pub(super) fn registration(&self, from: SourceAddress) -> Result<(), Error> {
        self.registrations
            .take(&from)
            .map_err(|wait| Error::rate_limited("too many registrations from your address", wait))
    }
}

/// The same for an account and for an address, so that it doesn't tell whether there is such an account.
const WRONG_PASSWORDS: &str = "too many wrong passwords";

async fn begin<'a, K: Ord + Clone>(
    counts: &'a PerMinute<K>,
    key: &K,
    refusal: &str,
) -> Result<Attempt<'a, K>, Error> {
    match timeout(PATIENCE, counts.begin(key)).await {
        Ok(Ok(attempt)) => Ok(attempt),
        Ok(Err(wait)) => Err(Error::rate_limited(refusal, wait)),
        Err(_) => Err(Error::unavailable("too many attempts at once: try again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ManualClock;
    use crate::protocol::ErrorCode;

    fn source(address: &str) -> SourceAddress {
        SourceAddress::from(address.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_its_ipv4() {
        assert_eq!(
            source("2001:db8::1"),
            source("2001:db8::ffff:ffff:ffff:ffff")
        );
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(
            source("::ffff:192.0.2.1").octets(),
            source("192.0.2.1").octets()
        );
    }

    #[test]
    fn a_refusal_says_how_long_to_wait() {
        let clock: Arc<dyn Clock> = ManualClock::shared();
        let rates = Rates {
            registrations_per_minute: 1,
            ..Rates::default()
        };
        let limits = RateLimits::new(&rates, &clock);
        limits.registration(source("192.0.2.1")).expect("the first");
        let refused = limits
            .registration(source("192.0.2.1"))
            .expect_err("the second");
        assert_eq!(refused.code(), ErrorCode::RateLimited);
        assert_eq!(refused.retry_after_seconds(), Some(60));
        limits.registration(source("192.0.2.2")).expect("another");
    }

    #[tokio::test]
    async fn ten_unknown_invites_refuse_any_for_a_minute() {
        let clock = ManualClock::shared();
        let limits = RateLimits::new(&Rates::default(), &(clock.clone() as Arc<dyn Clock>));
        let user = UserId(1);
        for _ in 0..10 {
            drop(limits.invite(user).await.expect("a known one"));
            limits.invite(user).await.expect("an unknown one").count();
        }
        let refused = limits.invite(user).await.expect_err("the eleventh");
        assert_eq!(refused.code(), ErrorCode::RateLimited);
        clock.advance(Duration::from_secs(60));
        drop(limits.invite(user).await.expect("a minute later"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_others_is_told_to_come_back() {
        let clock: Arc<dyn Clock> = ManualClock::shared();
        let rates = Rates {
            unknown_invites_per_minute: 1,
            ..Rates::default()
        };
        let limits = RateLimits::new(&rates, &clock);
        let _slow = limits.invite(UserId(1)).await.expect("the first");
        let refused = limits.invite(UserId(1)).await.expect_err("the second");
        assert_eq!(refused.code(), ErrorCode::Unavailable);
    }

    #[tokio::test]
    async fn with_rates_off_nothing_is_refused() {
        let clock: Arc<dyn Clock> = ManualClock::shared();
        let rates = Rates {
            enabled: false,
            ..Rates::default()
        };
        let limits = RateLimits::new(&rates, &clock);
        let (user, from) = (UserId(1), source("192.0.2.1"));
        for _ in 0..1000 {
            limits.send(user).expect("allowed");
            limits.registration(from).expect("allowed");
            limits.invite(user).await.expect("allowed").count();
            limits.password_from(from).await.expect("allowed").count();
            let account = AccountKey::Strangers(user);
            limits.password_of(&account).await.expect("allowed").count();
        }
    }
}
