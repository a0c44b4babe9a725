//! Accounts and sessions over HTTP: statuses and shapes. Their rules are tested where they are.

use serde_json::json;

use crate::harness::{PASSWORD, TestServer, text};

#[tokio::test]
async fn an_account_is_made_once() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    let body = json!({"email": "Mia@Example.com", "username": "mia", "password": PASSWORD});
    let user = anyone
        .post("/v1/auth/register", &body)
        .await
        .created()
        .await;
    assert_eq!(user["email"], "Mia@Example.com");
    assert_eq!(user.as_object().expect("a user").len(), 4);
    let again = json!({"email": "mia@example.COM", "username": "other", "password": PASSWORD});
    anyone
        .post("/v1/auth/register", &again)
        .await
        .problem(409, "email_taken")
        .await;
    let again = json!({"email": "b@example.com", "username": "MIA", "password": PASSWORD});
    anyone
        .post("/v1/auth/register", &again)
        .await
        .problem(409, "username_taken")
        .await;
}

#[tokio::test]
async fn a_login_gives_tokens_that_rotate() {
    let server = TestServer::start().await;
    let mut mia = server.user("mia").await;
    let body = json!({"refreshToken": mia.refresh_token});
    let tokens = mia.post("/v1/auth/refresh", &body).await.ok().await;
    assert_eq!(tokens["tokenType"], "Bearer");
    assert_eq!(tokens["expiresIn"], 900);
    // What is left of 30 days, on a machine that may be busy.
    let left = tokens["refreshExpiresIn"].as_i64().expect("seconds");
    assert!((2_591_900..=2_592_000).contains(&left), "{left}");
    mia.token = Some(text(&tokens["accessToken"]));
    mia.get("/v1/users/me").await.ok().await;
    let body = json!({"refreshToken": "nonsense"});
    mia.post("/v1/auth/refresh", &body)
        .await
        .problem(401, "invalid_refresh_token")
        .await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_alike() {
    let server = TestServer::start().await;
    let mia = server.user("mia").await;
    let mut seen = Vec::new();
    for email in ["mia@example.com", "nobody@example.com"] {
        let body = json!({"email": email, "password": "wrong horse"});
        seen.push(
            mia.post("/v1/auth/login", &body)
                .await
                .problem(401, "invalid_credentials")
                .await,
        );
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_wrong_current_password_is_forbidden() {
    let server = TestServer::start().await;
    let mia = server.user("mia").await;
    let body = json!({"currentPassword": "wrong horse", "newPassword": "another horse"});
    mia.post("/v1/auth/password", &body)
        .await
        .problem(403, "invalid_credentials")
        .await;
    let request = mia
        .request(reqwest::Method::DELETE, "/v1/users/me")
        .json(&json!({"password": "wrong horse"}));
    crate::harness::Answer::of(request)
        .await
        .problem(403, "invalid_credentials")
        .await;

    let body = json!({"currentPassword": PASSWORD, "newPassword": "another horse"});
    mia.post("/v1/auth/password", &body).await.done().await;
    let body = json!({"email": "mia@example.com", "password": "another horse"});
    mia.post("/v1/auth/login", &body).await.ok().await;
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let server = TestServer::start().await;
    let mia = server.user("mia").await;
    let mut phone = mia.clone();
    phone.log_in("mia@example.com").await;
    let page = mia.get("/v1/auth/sessions?limit=1").await.ok().await;
    assert_eq!(
        (&page["items"][0]["current"], &page["hasMore"]),
        (&json!(true), &json!(true))
    );
    let after = &page["items"][0]["id"];
    let page = mia
        .get(&format!("/v1/auth/sessions?after={after}"))
        .await
        .ok()
        .await;
    assert_eq!(
        (&page["items"][0]["current"], &page["hasMore"]),
        (&json!(false), &json!(false))
    );

    let other = format!("/v1/auth/sessions/{}", page["items"][0]["id"]);
    mia.delete(&other).await.done().await;
    phone
        .get("/v1/users/me")
        .await
        .problem(401, "unauthenticated")
        .await;
    mia.delete(&other).await.problem(404, "not_found").await;
    mia.post("/v1/auth/logout", &json!({})).await.done().await;
    mia.get("/v1/users/me")
        .await
        .problem(401, "unauthenticated")
        .await;
}

#[tokio::test]
async fn a_user_is_renamed_and_deleted() {
    let server = TestServer::start().await;
    let (mia, kim) = (server.user("mia").await, server.user("kim").await);
    let profile = format!("/v1/users/{}", kim.id());
    mia.get(&profile).await.problem(404, "not_found").await;
    let room = mia.room("den").await;
    mia.invite(&room, &kim).await;
    let user = kim
        .patch("/v1/users/me", &json!({"username": "kimi"}))
        .await
        .ok()
        .await;
    assert_eq!(user["username"], "kimi");
    let user = mia.get(&profile).await.ok().await;
    assert_eq!(
        (&user["username"], user.get("email")),
        (&json!("kimi"), None)
    );

    let request = kim
        .request(reqwest::Method::DELETE, "/v1/users/me?eraseMessages=true")
        .json(&json!({"password": PASSWORD}));
    crate::harness::Answer::of(request).await.done().await;
    kim.get("/v1/users/me")
        .await
        .problem(401, "unauthenticated")
        .await;
    let user = mia.get(&profile).await.ok().await;
    assert_eq!(user["username"], "deleted user");
}

#[tokio::test]
async fn an_expired_token_is_said_to_be_expired() {
    let server = TestServer::with(&[("CHAT_ACCESS_TOKEN_SECONDS", "1")]).await;
    let mia = server.user("mia").await;
    let expired = async {
        while mia.get("/v1/users/me").await.status() == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), expired)
        .await
        .expect("it expires");
    mia.get("/v1/users/me")
        .await
        .problem(401, "token_expired")
        .await;
}

#[tokio::test]
async fn guessing_is_limited_by_the_address_that_a_trusted_proxy_names() {
    let server = TestServer::with(&[
        ("CHAT_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("CHAT_RATE_REGISTRATIONS_PER_MINUTE", "2"),
    ])
    .await;
    let anyone = server.anyone();
    let register = |n: usize, from: &'static str| {
        let body = json!({"email": format!("{n}@example.com"), "username": format!("user{n}"), "password": PASSWORD});
        let request = anyone
            .request(reqwest::Method::POST, "/v1/auth/register")
            .header("x-forwarded-for", from)
            .json(&body);
        crate::harness::Answer::of(request)
    };
    register(1, "192.0.2.1").await.created().await;
    register(2, "203.0.113.1, 192.0.2.1").await.created().await;
    register(3, "192.0.2.1")
        .await
        .problem(429, "rate_limited")
        .await;
    register(4, "192.0.2.2").await.created().await;
}

#[tokio::test]
async fn the_public_keys_are_published() {
    let server = TestServer::start().await;
    let answer = server.anyone().get("/.well-known/jwks.json").await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let keys = answer.ok().await;
    assert_eq!(
        (&keys["keys"][0]["kty"], &keys["keys"][0]["crv"]),
        (&json!("OKP"), &json!("Ed25519"))
    );
    assert_eq!(keys["keys"][0].get("d"), None);
}
