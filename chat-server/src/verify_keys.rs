//! Public keys from a file or a URL, read again and again: so keys are rotated without a restart.

use std::sync::Arc;
use std::time::Duration;

use chat_core::auth::{Keys, VerifyKey};
use chat_core::protocol::rest::JwkSet;
use tokio::time::sleep;

use crate::config::VerifyKeys;
use crate::serve::StartError;

/// How often they are read again.
const AGAIN: Duration = Duration::from_secs(30);
/// How soon after a failure, while there are none yet.
const RETRY: Duration = Duration::from_secs(1);
/// How long a URL may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an answer may be.
const BYTES: usize = 256 * 1024;

/// Reads the keys of a source.
///
/// # Errors
/// It can't be read, isn't a JWKS, or holds no key that an access token could be signed with.
pub(crate) async fn read(source: &VerifyKeys) -> Result<JwkSet, StartError> {
    let (name, text) = match source {
        VerifyKeys::File(path) => (
            path.display().to_string(),
            tokio::fs::read(path).await.map_err(|e| e.to_string()),
        ),
        VerifyKeys::Url(url) => (url.clone(), fetch(url).await),
    };
    let refused = |why: &str| StartError::new(format!("the verification keys {name}: {why}"));
    let text = text.map_err(|e| refused(&e))?;
    let set: JwkSet =
        serde_json::from_slice(&text).map_err(|e| refused(&format!("this is not a JWKS: {e}")))?;
    if set
        .keys
        .iter()
        .all(|key| VerifyKey::from_jwk(key).is_none())
    {
        return Err(refused("none of them is an Ed25519 key"));
    }
    Ok(set)
}

async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let said = |e: reqwest::Error| StartError::caused("", &e).to_string();
    // A client for each: connections that are kept would be all that it saves, every half minute.
    let client = reqwest::Client::builder()
        .timeout(ANSWER)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(said)?;
    let mut answer = client.get(url).send().await.map_err(said)?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}", answer.status()));
    }
    let mut text = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(said)? {
        text.extend_from_slice(&bytes);
        if text.len() > BYTES {
            return Err(format!("it is longer than {BYTES} bytes"));
        }
    }
    Ok(text)
}

/// Has `keys` verify with what a source says, as it changes; runs until dropped. `known` is what they verify with already.
pub(crate) async fn follow(keys: Arc<Keys>, source: VerifyKeys, mut known: Option<JwkSet>) {
    if known.is_some() {
        sleep(AGAIN).await;
    }
    loop {
        match read(&source).await {
            Ok(set) => {
                if known.as_ref() != Some(&set) {
                    let usable = keys.trust(&set);
                    tracing::info!(usable, "access tokens are verified with other keys");
                    known = Some(set);
                }
                sleep(AGAIN).await;
            }
            Err(e) if known.is_some() => {
                tracing::warn!("the keys that are known go on: {e}");
                sleep(AGAIN).await;
            }
            Err(e) => {
                tracing::warn!("not ready: {e}");
                sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_core::auth::{SigningKey, TokenNames};
    use chat_core::model::{SessionId, SystemClock, UserId};
    use chat_core::random::SystemRandom;
    use tokio::time::timeout;

    use super::*;

    fn keys(signing: Option<SigningKey>) -> Keys {
        let clock = Arc::new(SystemClock);
        Keys::new(
            TokenNames::default(),
            signing,
            clock,
            Arc::new(SystemRandom),
        )
    }

    fn signing() -> Keys {
        keys(Some(
            SigningKey::generate(&SystemRandom).expect("generated"),
        ))
    }

    fn token(keys: &Keys) -> String {
        let lifetime = Duration::from_secs(900);
        keys.issue(UserId(7), SessionId(9), lifetime)
            .expect("signed")
    }

    fn write(path: &std::path::Path, sets: &[&Keys]) {
        let keys = sets.iter().flat_map(|k| k.jwks().keys).collect();
        let text = serde_json::to_vec(&JwkSet { keys }).expect("written");
        std::fs::write(path, text).expect("written");
    }

    /// Trust the new one, sign with it, stop trusting the old one: without a restart.
    #[tokio::test(start_paused = true)]
    async fn keys_are_rotated_in_a_file_that_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.json");
        let (old, new) = (signing(), signing());
        let (by_old, by_new) = (token(&old), token(&new));
        let verifying = Arc::new(keys(None));
        assert!(!verifying.can_verify());
        let source = VerifyKeys::File(path.clone());
        let following = tokio::spawn(follow(Arc::clone(&verifying), source, None));
        let until = async |done: &dyn Fn() -> bool| {
            let waiting = async {
                while !done() {
                    sleep(Duration::from_secs(1)).await;
                }
            };
            let waited = timeout(Duration::from_secs(600), waiting).await;
            waited.expect("the keys are read again");
        };

        // It isn't there yet, then there is nonsense in it, and then the keys.
        sleep(Duration::from_secs(5)).await;
        std::fs::write(&path, "nonsense").expect("written");
        sleep(Duration::from_secs(5)).await;
        write(&path, &[&old]);
        until(&|| verifying.verify(&by_old).is_ok()).await;
        assert!(verifying.verify(&by_new).is_err());
        write(&path, &[&old, &new]);
        until(&|| verifying.verify(&by_new).is_ok()).await;
        assert!(verifying.verify(&by_old).is_ok());
        // Nonsense meanwhile takes nothing away.
        std::fs::write(&path, "nonsense").expect("written");
        sleep(Duration::from_secs(90)).await;
        assert!(verifying.verify(&by_old).is_ok());
        write(&path, &[&new]);
        until(&|| verifying.verify(&by_old).is_err()).await;
        assert!(verifying.verify(&by_new).is_ok());
        following.abort();
    }
}
