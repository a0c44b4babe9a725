//! Registering, logging in, and going on with a refresh token.

use std::net::IpAddr;

use super::AccountService;
use super::password::check_guess;
use crate::auth::{GRACE, RefreshToken, Verdict};
use crate::model::limits;
use crate::model::{SessionId, Timestamp, User};
use crate::protocol::ErrorCode;
use crate::protocol::rest::{Login, Refresh, Register, Tokens};
use crate::service::Error;
use crate::service::fields::Fields;
use crate::service::rates::SourceAddress;
use crate::store::{Credentials, EndedSession, NewAccount, NewSession, Rotated, Rotation};

impl AccountService {
    /// Makes an account.
    ///
    /// # Errors
    /// `validation_failed`, `email_taken`, `username_taken`, `rate_limited`, `unavailable`
    pub async fn register(&self, register: Register, address: IpAddr) -> Result<User, Error> {
        let Register {
            email,
            username,
            password,
        } = register;
        let mut fields = Fields::default();
        fields.text("email", limits::email(&email));
        fields.text("username", limits::username(&username));
        fields.text("password", limits::password(&password));
        fields.finish()?;
        self.parts
            .rates
            .registration(SourceAddress::from(address))?;
        let password_hash = self.parts.passwords.hash(&password).await?;
        let account = NewAccount {
            email: &email,
            username: &username,
            password_hash: &password_hash,
            at: self.parts.clock.now(),
        };
        Ok(self.parts.accounts.create_account(&account).await??)
    }

    /// Begins a session.
    ///
    /// # Errors
    /// `invalid_credentials`, `validation_failed`, `rate_limited`, `unavailable`
    pub async fn login(&self, login: Login, address: IpAddr) -> Result<Tokens, Error> {
        let Login {
            email,
            password,
            device,
        } = login;
        let mut fields = Fields::default();
        fields.text("email", limits::email(&email));
        fields.text("password", check_guess(&password));
        if let Some(device) = &device {
            fields.text("device", limits::device(device));
        }
        fields.finish()?;

        let accounts = &self.parts.accounts;
        let account = accounts.credentials_by_email(&email).await?;
        let source = SourceAddress::from(address);
        let verdict = self
            .guess(account.as_ref(), &email, &password, source)
            .await?;
        let (Some(account), Verdict::Right { rehashed }) = (account, verdict) else {
            return Err(Error::invalid_credentials());
        };

        let refresh_token = RefreshToken::generate(&*self.parts.random);
        let now = self.parts.clock.now();
        let expires_at = now.plus(self.parts.lifetimes.refresh);
        let session = NewSession {
            user_id: account.user.id,
            device: device.as_deref().unwrap_or_default(),
            refresh_hash: refresh_token.hash(),
            at: now,
            expires_at,
            address_hash: Some(self.address_hash(source).await?),
            max_sessions: self.parts.limits.sessions_per_user,
        };
        let created = accounts.create_session(&session).await?;
        let (session, ended) = created.ok_or_else(Error::invalid_credentials)?;
        self.parts.end(ended).await?;
        self.confirm(&account, session, &password).await?;

        if let Some(new_hash) = rehashed {
            let old_hash = &account.password_hash;
            let rehash = accounts.rehash_password(account.user.id, old_hash, &new_hash);
            if let Err(error) = rehash.await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a password hashed anew wasn't stored: its next login will try again"
                );
            }
        }
        self.tokens(account.user, session, &refresh_token, expires_at)
    }

    /// Uses a refresh token: it is replaced by the one in the answer.
    ///
    /// # Errors
    /// `invalid_refresh_token`; if it was one replaced before, its session has ended.
    pub async fn refresh(&self, refresh: Refresh) -> Result<Tokens, Error> {
        let Refresh { refresh_token } = refresh;
        let presented = RefreshToken::parse(&refresh_token).ok_or_else(invalid_refresh_token)?;
        let successor = RefreshToken::generate(&*self.parts.random);
        let sealed = presented
            .seal(&successor, &*self.parts.random)
            .map_err(Error::internal)?;
        let now = self.parts.clock.now();
        let rotation = Rotation {
            presented: presented.hash(),
            successor: successor.hash(),
            sealed_successor: &sealed,
            at: now,
            expires_at: now.plus(self.parts.lifetimes.refresh),
            grace_from: now.minus(GRACE),
        };
        match self.parts.accounts.rotate(&rotation).await? {
            Rotated::Fresh { session, user } => {
                self.tokens(user, session, &successor, rotation.expires_at)
            }
            Rotated::Again {
                session,
                user,
                sealed_successor,
                expires_at,
            } => {
                let successor = presented.open(&sealed_successor).map_err(Error::internal)?;
                self.tokens(user, session, &successor, expires_at)
            }
            Rotated::Reused { session } => {
                tracing::warn!(%session, "a replaced refresh token was used: its session ended");
                let session = session.to_string();
                self.parts
                    .end(vec![EndedSession { session, at: now }])
                    .await?;
                Err(invalid_refresh_token())
            }
            Rotated::Unknown => Err(invalid_refresh_token()),
        }
    }

    /// Ends a session just made if the password it was made with is no more the account's: it may have been changed
    /// while it was checked, and that ended every session but this one.
    async fn confirm(
        &self,
        account: &Credentials,
        session: SessionId,
        password: &str,
    ) -> Result<(), Error> {
        let (user, accounts) = (account.user.id, &self.parts.accounts);
        let now = accounts.credentials(user).await?;
        let still_right = match now.map(|now| now.password_hash) {
            None => false,
            Some(hash) if hash == account.password_hash => true,
            // Changed, or only hashed anew by another login.
            Some(hash) => {
                let verdict = self.parts.passwords.verify(password, Some(&hash)).await?;
                matches!(verdict, Verdict::Right { .. })
            }
        };
        if still_right {
            return Ok(());
        }
        let at = self.parts.clock.now();
        accounts.end_user_session(user, session, at).await?;
        Err(Error::invalid_credentials())
    }

    fn tokens(
        &self,
        user: User,
        session: SessionId,
        refresh_token: &RefreshToken,
        refresh_expires_at: Timestamp,
    ) -> Result<Tokens, Error> {
        let access_lifetime = self.parts.lifetimes.access;
        let refresh_lifetime = refresh_expires_at.since(self.parts.clock.now());
        Ok(Tokens {
            token_type: "Bearer".to_owned(),
            access_token: self
                .parts
                .keys
                .issue(user.id, session, access_lifetime)
                .map_err(Error::internal)?,
            expires_in: seconds(access_lifetime),
            refresh_token: refresh_token.to_text(),
            refresh_expires_in: seconds(refresh_lifetime),
            user,
        })
    }
}

fn invalid_refresh_token() -> Error {
    Error::new(
        ErrorCode::InvalidRefreshToken,
        "the refresh token is not valid any more: log in again",
    )
}

fn seconds(d: std::time::Duration) -> i64 {
    i64::try_from(d.as_secs()).unwrap_or(i64::MAX)
}
