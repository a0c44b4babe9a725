//! Passwords: Argon2id, as PHC strings, off the async threads and never more at once than there are cores.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::random::Random;
use crate::store::BoxError;

/// How long a password waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Passwords that may wait for each that is being hashed: with the usual cost about as many as get their turn in time.
const QUEUE: usize = 64;

/// What a hash costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordCost(Params);

impl PasswordCost {
    /// OWASP's recommendation for Argon2id (Password Storage Cheat Sheet): 19 MiB of memory, 2 passes, 1 lane.
    pub const RECOMMENDED: Self = Self(Params::DEFAULT);

    /// The least that Argon2 takes: for tests, where a password guards nothing.
    #[cfg(any(test, feature = "testing"))]
    pub const MINIMAL: Self = match Params::new(Params::MIN_M_COST, 1, 1, None) {
        Ok(params) => Self(params),
        Err(_) => Self::RECOMMENDED,
    };
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self::RECOMMENDED
    }
}

/// Why a password wasn't hashed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// Too many wait already. Worth trying again.
    #[error("too many passwords are being checked")]
    Busy,
    /// The stored hash can't be read, or there was no memory for it.
    #[error("the password can't be hashed")]
    Failed(#[source] BoxError),
}

impl From<password_hash::Error> for PasswordError {
    fn from(e: password_hash::Error) -> Self {
        Self::Failed(Box::new(e))
    }
}

/// What a password turned out to be.
#[derive(Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the account's.
    Right {
        /// The hash to store from now on, if the stored one costs another amount than it should.
        rehashed: Option<String>,
    },
    /// It isn't, or there is no account.
    Wrong,
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Right { .. } => "Right",
            Self::Wrong => "Wrong",
        })
    }
}

/// Hashes and verifies passwords.
pub struct Passwords {
    cost: Params,
    random: Arc<dyn Random>,
    /// What to verify a password against where there is no account: the same cost, and no password fits.
    nobody: String,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    computed: Arc<AtomicU64>,
}

impl Passwords {
    /// At this cost, and at most `parallel` at once: as many as there are cores to spare.
    #[must_use]
    pub fn new(cost: PasswordCost, random: Arc<dyn Random>, parallel: usize) -> Self {
        let parallel = parallel.max(1);
        let PasswordCost(cost) = cost;
        Self {
            nobody: hash_of_nothing(&cost, &*random),
            cost,
            random,
            places: Arc::new(Semaphore::new(parallel * (1 + QUEUE))),
            turns: Arc::new(Semaphore::new(parallel)),
            computed: Arc::default(),
        }
    }

    /// Hashes a new password: a PHC string.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] at once when too many wait, or after 5 s.
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let hasher = self.hasher();
        let password = password.to_owned();
        self.in_turn(move || hasher.hash(&password)).await
    }

    /// Verifies a password against a stored hash; `None`: there is no account, which takes as long to find out as that a
    /// password is wrong.
    ///
    /// # Errors
    /// As [`Passwords::hash`], and [`PasswordError::Failed`] if the stored hash isn't one.
    pub async fn verify(
        &self,
        password: &str,
        stored: Option<&str>,
    ) -> Result<Verdict, PasswordError> {
        let hasher = self.hasher();
        let stored = stored.unwrap_or(&self.nobody).to_owned();
        let password = password.to_owned();
        self.in_turn(move || hasher.verify(&password, &stored))
            .await
    }

    /// How many hashes were computed so far.
    #[must_use]
    pub fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    fn hasher(&self) -> Hasher {
        let mut salt = [0; argon2::RECOMMENDED_SALT_LEN];
        self.random.fill(&mut salt);
        Hasher {
            cost: self.cost.clone(),
            salt,
            computed: Arc::clone(&self.computed),
        }
    }

    /// Does `work` on a thread for it, when it is its turn. Given up while it waits, it isn't done; once begun, it is.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| PasswordError::Busy)?;
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| PasswordError::Busy)?
            .map_err(|closed| PasswordError::Failed(Box::new(closed)))?;
        spawn_blocking(move || {
            // A hash that nobody waits for any more still takes its core until it is done.
            let _until_done = (place, turn);
            work()
        })
        .await
        .map_err(|panicked| PasswordError::Failed(Box::new(panicked)))?
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// One password's work.
struct Hasher {
    cost: Params,
    salt: [u8; argon2::RECOMMENDED_SALT_LEN],
    computed: Arc<AtomicU64>,
}

impl Hasher {
    fn argon2(&self) -> Argon2<'static> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.cost.clone())
    }

    fn hash(&self, password: &str) -> Result<String, PasswordError> {
        self.computed.fetch_add(1, Ordering::Relaxed);
        let hash = self
            .argon2()
            .hash_password_with_salt(password.as_bytes(), &self.salt)?;
        Ok(hash.to_string())
    }

    fn verify(&self, password: &str, stored: &str) -> Result<Verdict, PasswordError> {
        let stored = PasswordHash::new(stored).map_err(|e| PasswordError::Failed(Box::new(e)))?;
        self.computed.fetch_add(1, Ordering::Relaxed);
        match self.argon2().verify_password(password.as_bytes(), &stored) {
            Ok(()) => Ok(Verdict::Right {
                rehashed: if self.is_current(&stored) {
                    None
                } else {
                    Some(self.hash(password)?)
                },
            }),
            Err(password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
            Err(e) => Err(e.into()),
        }
    }

    fn is_current(&self, stored: &PasswordHash) -> bool {
        let same_cost = Params::try_from(stored).is_ok_and(|stored| {
            (stored.m_cost(), stored.t_cost(), stored.p_cost())
                == (self.cost.m_cost(), self.cost.t_cost(), self.cost.p_cost())
        });
        same_cost
            && stored.algorithm == ARGON2ID_IDENT
            && stored.version == Some(Version::V0x13.into())
    }
}

/// A PHC string of this cost that took no hashing. A password that fits it is as hard to find as one for any other hash.
fn hash_of_nothing(cost: &Params, random: &dyn Random) -> String {
    let mut salt = [0; argon2::RECOMMENDED_SALT_LEN];
    random.fill(&mut salt);
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    random.fill(&mut output);
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(cost).expect("valid parameters can be written"),
        salt: Some(Salt::new(&salt).expect("16 bytes are a salt")),
        hash: Some(Output::new(&output).expect("32 bytes are an output")),
    };
    hash.to_string()
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::random::SystemRandom;

    fn passwords(parallel: usize) -> Passwords {
        Passwords::new(PasswordCost::MINIMAL, Arc::new(SystemRandom), parallel)
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let passwords = passwords(1);
        let hash = passwords.hash("correct horse").await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        let verify = |p| passwords.verify(p, Some(&hash));
        assert_eq!(
            verify("correct horse").await.expect("verified"),
            Verdict::Right { rehashed: None }
        );
        assert_eq!(
            verify("correct horsf").await.expect("verified"),
            Verdict::Wrong
        );
        assert_ne!(hash, passwords.hash("correct horse").await.expect("hashed"));
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_replaced_once_the_password_is_known() {
        let old = passwords(1).hash("correct horse").await.expect("hashed");
        let dearer = PasswordCost(Params::new(16, 2, 1, None).expect("valid"));
        let now = Passwords::new(dearer, Arc::new(SystemRandom), 1);
        let wrong = now.verify("wrong", Some(&old)).await.expect("verified");
        assert_eq!(wrong, Verdict::Wrong);
        let right = now.verify("correct horse", Some(&old)).await;
        let Verdict::Right {
            rehashed: Some(new),
        } = right.expect("verified")
        else {
            panic!("it should be hashed anew");
        };
        assert!(new.starts_with("$argon2id$v=19$m=16,t=2,p=1$"), "{new}");
        assert_eq!(
            now.verify("correct horse", Some(&new)).await.expect("ok"),
            Verdict::Right { rehashed: None }
        );
    }

    #[tokio::test]
    async fn an_unknown_account_costs_what_a_wrong_password_does() {
        let passwords = passwords(1);
        let hash = passwords.hash("correct horse").await.expect("hashed");
        let before = passwords.computed();
        assert_eq!(
            passwords.verify("wrong", Some(&hash)).await.expect("ok"),
            Verdict::Wrong
        );
        let wrong = passwords.computed() - before;
        assert_eq!(
            passwords.verify("wrong", None).await.expect("ok"),
            Verdict::Wrong
        );
        assert_eq!(passwords.computed() - before - wrong, wrong);
        let nobody = PasswordHash::new(&passwords.nobody).expect("a PHC string");
        assert!(passwords.hasher().is_current(&nobody));
    }

    #[tokio::test]
    async fn a_stored_hash_that_is_none_is_an_error_and_not_a_wrong_password() {
        let verdict = passwords(1).verify("wrong", Some("")).await;
        assert!(matches!(verdict, Err(PasswordError::Failed(_))));
    }

    #[tokio::test]
    async fn beyond_the_queue_a_password_is_refused_at_once() {
        let passwords = passwords(1);
        let held = passwords.turns.acquire().await.expect("the only turn");
        let waiting = join_all((0..1 + QUEUE).map(|_| passwords.hash("correct horse")));
        let one_too_many = async {
            let refused = passwords.hash("correct horse").await;
            drop(held);
            refused
        };
        let (hashed, refused) = tokio::join!(waiting, one_too_many);
        assert!(matches!(refused, Err(PasswordError::Busy)));
        assert!(hashed.iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_does_not_wait_for_ever() {
        let passwords = passwords(1);
        let _held = passwords.turns.acquire().await.expect("the only turn");
        assert!(matches!(
            passwords.hash("correct horse").await,
            Err(PasswordError::Busy)
        ));
    }

    #[test]
    fn what_is_known_of_passwords_is_not_in_debug_output() {
        let passwords = passwords(1);
        assert!(!format!("{passwords:?}").contains(&passwords.nobody));
        let verdict = Verdict::Right {
            rehashed: Some("$argon2id$".to_owned()),
        };
        assert_eq!(format!("{verdict:?}"), "Right");
    }
}
