//! Who is asking.

use axum::extract::{FromRef, FromRequestParts};
use chat_core::auth;
use chat_core::service::Chat;
use http::request::Parts;

use super::extract;
use super::problem::HttpError;

/// Who is asking; 401 if nobody is. A handler that needs it takes it first, so that strangers are told nothing else.
pub(crate) struct Caller(pub(crate) auth::Caller);

impl<S> FromRequestParts<S> for Caller
where
    Chat: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let caller = Chat::from_ref(state).authenticate(parts).await?;
        // Calls that read no body take none of any size.
        extract::check_length(&parts.headers)?;
        Ok(Self(caller))
    }
}
