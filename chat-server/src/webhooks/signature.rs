//! Signatures by Standard Webhooks.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chat_core::model::WebhookSecret;

/// Signs a body with each secret: the header's value. What isn't a secret of ours signs nothing.
pub(super) fn sign(secrets: &[WebhookSecret], id: &str, timestamp: i64, body: &str) -> String {
    let signed = format!("{id}.{timestamp}.{body}");
    let signatures = secrets.iter().filter_map(|secret| {
        let key = secret.0.strip_prefix("whsec_")?;
        let key = BASE64_STANDARD.decode(key).ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signature = hmac::sign(&key, signed.as_bytes());
        Some(format!("v1,{}", BASE64_STANDARD.encode(signature)))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of Standard Webhooks test themselves with.
    #[test]
    fn a_signature_is_as_the_specification_has_it() {
        let secret = WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let body = r#"{"test": 2432232314}"#;
        let signature = sign(
            &[secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            body,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_make_two_signatures() {
        let secrets = ["whsec_AAAA", "whsec_AAAB"].map(|text| WebhookSecret(text.to_owned()));
        let both = sign(&secrets, "msg", 7, "{}");
        let each = secrets.map(|secret| sign(&[secret], "msg", 7, "{}"));
        assert_eq!(both, each.join(" "));
    }
}
