//! What asks for the account's password: guesses are counted alike wherever they are made.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::{AccountService, session};
use crate::auth::{AuthError, Caller, Verdict};
use crate::model::UserId;
use crate::model::limits::{self, TextError};
use crate::protocol::ErrorCode;
use crate::protocol::rest::{ChangePassword, DeleteAccount, DeleteAccountQuery};
use crate::service::Error;
use crate::service::fields::Fields;
use crate::service::rates::{AccountKey, SourceAddress};
use crate::store::Credentials;

/// How long an address counts as its account's own after a login from there.
const FAMILIAR_FOR: Duration = Duration::from_secs(30 * 86_400);

/// How often changing a password is begun anew because its hash was replaced in between, as a login may do once.
const TRIES: usize = 3;

/// Checks a password that is compared and not set: what is too short to be one is only wrong.
pub(super) fn check_guess(password: &str) -> Result<(), TextError> {
    match limits::password(password) {
        Err(TextError::TooShort(_)) => Ok(()),
        checked => checked,
    }
}

impl AccountService {
    /// Changes the caller's password, and ends every session of it but the one that asks.
    ///
    /// # Errors
    /// `invalid_credentials` (403), `validation_failed`, `rate_limited`, `unavailable`
    pub async fn change_password(
        &self,
        caller: &Caller,
        change: ChangePassword,
        address: IpAddr,
    ) -> Result<(), Error> {
        let ChangePassword {
            current_password,
            new_password,
        } = change;
        let mut fields = Fields::default();
        fields.text("currentPassword", check_guess(&current_password));
        fields.text("newPassword", limits::password(&new_password));
        fields.finish()?;

        let keep = Some(session(caller)?);
        for _ in 0..TRIES {
            let account = self
                .check_password(caller, &current_password, address)
                .await?;
            let new_hash = self.parts.passwords.hash(&new_password).await?;
            let ended = self
                .parts
                .accounts
                .set_password(
                    caller.user_id,
                    &account.password_hash,
                    &new_hash,
                    keep,
                    self.parts.clock.now(),
                )
                .await?;
            if let Some(ended) = ended {
                self.parts.end(ended).await?;
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorCode::Conflict,
            "the password is being changed elsewhere: try again",
        ))
    }

    /// Deletes the caller's account and ends its sessions. Its rooms follow.
    ///
    /// # Errors
    /// `invalid_credentials` (403), `validation_failed`, `rate_limited`, `unavailable`
    pub async fn delete_account(
        &self,
        caller: &Caller,
        delete: DeleteAccount,
        query: DeleteAccountQuery,
        address: IpAddr,
    ) -> Result<(), Error> {
        let DeleteAccount { password } = delete;
        let mut fields = Fields::default();
        fields.text("password", check_guess(&password));
        fields.finish()?;

        self.check_password(caller, &password, address).await?;
        let at = self.parts.clock.now();
        let store = &self.parts.store;
        let ended = store
            .delete_user(caller.user_id, query.erase_messages, at)
            .await?;
        let ended = ended.ok_or(AuthError::Unauthenticated)?;
        self.parts.end(ended).await?;
        self.parts.jobs.notify_one();
        Ok(())
    }

    /// The caller's account, if this is its password.
    async fn check_password(
        &self,
        caller: &Caller,
        password: &str,
        address: IpAddr,
    ) -> Result<Credentials, Error> {
        let account = self.credentials(caller).await?;
        let email = account.user.email.as_deref().unwrap_or_default();
        let verdict = self
            .guess(
                Some(&account),
                email,
                password,
                SourceAddress::from(address),
            )
            .await?;
        match verdict {
            Verdict::Right { .. } => Ok(account),
            Verdict::Wrong => Err(Error::wrong_password()),
        }
    }

    /// Compares a password with the account's, and counts it if it is wrong. Without an account (`None`) all goes the same
    /// way, and takes as long, as with a wrong password.
    pub(super) async fn guess(
        &self,
        account: Option<&Credentials>,
        email: &str,
        password: &str,
        source: SourceAddress,
    ) -> Result<Verdict, Error> {
        let from_address = self.parts.rates.password_from(source).await?;
        let user = account.map_or(UserId(0), |account| account.user.id);
        let since = self.parts.clock.now().minus(FAMILIAR_FOR);
        let address = self.address_hash(source).await?;
        let accounts = &self.parts.accounts;
        let familiar = accounts.knows_address(user, &address, since).await?;
        let key = match (account, familiar) {
            (None, _) => AccountKey::nobody(email),
            (Some(_), true) => AccountKey::Familiar(user, source),
            (Some(_), false) => AccountKey::Strangers(user),
        };
        let of_account = self.parts.rates.password_of(&key).await?;
        let stored = account.map(|account| account.password_hash.as_str());
        let verdict = self.parts.passwords.verify(password, stored).await?;
        if verdict == Verdict::Wrong {
            from_address.count();
            of_account.count();
        }
        Ok(verdict)
    }
}

impl AccountKey {
    fn nobody(email: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, limits::fold(email).as_bytes()).as_ref());
        Self::Nobody(hash)
    }
}
