//! The login: renewed once however many wait, kept through crashes, shared between processes.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chat_client::{
    Client, Credentials, Error, FileTokenStore, MemoryTokenStore, Source, TokenStore, async_trait,
};
use futures_util::future::join_all;
use wiremock::ResponseTemplate;

use crate::mock::{Server, get, ok, post, problem, user};

const REFRESH: &str = "/v1/auth/refresh";

/// A store that several clients share, as processes do a file.
#[derive(Clone, Debug, Default)]
struct Shared {
    store: Arc<MemoryTokenStore>,
    full: Arc<AtomicBool>,
}

#[async_trait]
impl TokenStore for Shared {
    async fn load(&self) -> Result<Option<Credentials>, Source> {
        self.store.load().await
    }

    async fn save(&self, credentials: &Credentials) -> Result<(), Source> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Arc::new(std::io::Error::from(
                std::io::ErrorKind::StorageFull,
            )));
        }
        self.store.save(credentials).await
    }

    async fn clear(&self) -> Result<(), Source> {
        self.store.clear().await
    }
}

impl Shared {
    async fn with(server: &Server, n: u32) -> Self {
        let shared = Self::default();
        shared.save(&server.credentials(n)).await.unwrap();
        shared
    }

    fn client(&self, server: &Server) -> Client {
        server.builder().token_store(self.clone()).build().unwrap()
    }

    async fn access_token(&self) -> Option<String> {
        self.load().await.unwrap().map(|c| c.access_token)
    }
}

#[tokio::test]
async fn fifty_calls_with_an_expired_token_give_one_refresh() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    server.expire_tokens();
    server.mount_refresh(1, 1).await;
    server.mount_me(2).await;
    let client = shared.client(&server);
    let calls = join_all((0..50).map(|_| client.me())).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(server.requests("/v1/users/me").await.len(), 50);
    assert_eq!(shared.access_token().await.unwrap(), "access-2");
}

#[tokio::test]
async fn fifty_refused_tokens_give_one_refresh_and_each_call_is_repeated_once() {
    let server = Server::start().await;
    server.mount_refresh(1, 1).await;
    server.mount_me(2).await;
    let client = server.client();
    let calls = join_all((0..50).map(|_| client.me())).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(server.requests("/v1/users/me").await.len(), 100);
}

#[tokio::test]
async fn a_call_refused_with_a_fresh_token_as_well_says_so() {
    let server = Server::start().await;
    server.mount_refresh(1, 1).await;
    let refusal = get("/v1/users/me").respond_with(problem(401, "unauthenticated"));
    refusal.expect(2).mount(&server.http).await;
    let error = server.client().me().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn a_token_about_to_end_is_used_while_its_successor_is_fetched() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    let client = shared.client(&server);
    server.mount_me(1).await;
    client.me().await.unwrap();
    let slow = ok(&crate::mock::tokens(2)).set_delay(Duration::from_millis(500));
    post(REFRESH)
        .respond_with(slow)
        .expect(1)
        .mount(&server.http)
        .await;
    server.clock.advance(Duration::from_secs(890));
    let began = Instant::now();
    client.me().await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(400));
    while shared.access_token().await.unwrap() != "access-2" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_go_on_while_tokens_cant_be_renewed() {
    let server = Server::start().await;
    server.mount_me(1).await;
    let down = post(REFRESH).respond_with(problem(500, "internal"));
    down.expect(1).mount(&server.http).await;
    let client = server.client();
    client.me().await.unwrap();
    server.clock.advance(Duration::from_secs(890));
    for _ in 0..5 {
        client.me().await.unwrap();
    }
    while server.requests(REFRESH).await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_caller_who_stops_waiting_doesnt_stop_the_refresh() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    server.expire_tokens();
    server.mount_refresh(1, 1).await;
    server.mount_me(2).await;
    let client = shared.client(&server);
    let call = tokio::time::timeout(Duration::from_millis(20), client.me());
    assert!(call.await.is_err());
    client.me().await.unwrap();
}

#[tokio::test]
async fn a_refused_refresh_ends_the_session_and_clears_the_store() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    server.expire_tokens();
    server.mount_refresh_refused().await;
    let client = shared.client(&server);
    let calls = join_all((0..10).map(|_| client.me())).await;
    for error in calls.into_iter().map(Result::unwrap_err) {
        assert!(matches!(error, Error::SessionEnded(_)), "{error:?}");
    }
    assert_eq!(shared.access_token().await, None);
    assert_eq!(server.requests(REFRESH).await.len(), 1);
    assert!(matches!(client.me().await, Err(Error::NotLoggedIn)));
}

#[tokio::test]
async fn a_refresh_that_cant_be_answered_now_keeps_the_session() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    server.expire_tokens();
    for status in [404, 500] {
        let trouble = post(REFRESH).respond_with(ResponseTemplate::new(status));
        trouble.up_to_n_times(1).mount(&server.http).await;
        assert!(shared.client(&server).me().await.is_err());
        assert_eq!(shared.access_token().await.unwrap(), "access-1");
    }
}

#[tokio::test]
async fn what_another_process_renewed_is_taken_over() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    let client = shared.client(&server);
    server.mount_me(2).await;
    server.mount_refresh_refused().await;
    assert!(client.logged_in().await.unwrap().is_some());
    shared.save(&server.credentials(2)).await.unwrap();
    client.me().await.unwrap();
    assert!(server.requests(REFRESH).await.is_empty());
}

#[tokio::test]
async fn processes_that_renew_at_once_get_the_same_successor() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    server.expire_tokens();
    post(REFRESH)
        .respond_with(ok(&crate::mock::tokens(2)).set_delay(Duration::from_millis(50)))
        .mount(&server.http)
        .await;
    server.mount_me(2).await;
    let clients: Vec<_> = (0..4).map(|_| shared.client(&server)).collect();
    let calls = join_all(clients.iter().map(Client::me)).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(shared.access_token().await.unwrap(), "access-2");
}

#[tokio::test]
async fn a_refresh_that_lost_the_race_goes_on_with_the_winners() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    server.expire_tokens();
    // Another process renews between this one's reading the store and the server's answer.
    let (winner, newer) = (shared.clone(), server.credentials(2));
    let refuse = move |_: &wiremock::Request| {
        futures_util::FutureExt::now_or_never(winner.save(&newer))
            .unwrap()
            .unwrap();
        problem(401, "invalid_refresh_token")
    };
    post(REFRESH)
        .respond_with(refuse)
        .expect(1)
        .mount(&server.http)
        .await;
    server.mount_me(2).await;
    shared.client(&server).me().await.unwrap();
    assert_eq!(shared.access_token().await.unwrap(), "access-2");
}

#[tokio::test]
async fn a_logout_elsewhere_is_noticed_at_the_next_renewal() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    let client = shared.client(&server);
    server.mount_me(1).await;
    client.me().await.unwrap();
    shared.clear().await.unwrap();
    server.expire_tokens();
    assert!(matches!(client.me().await, Err(Error::SessionEnded(_))));
    assert!(server.requests(REFRESH).await.is_empty());
}

#[tokio::test]
async fn a_full_disk_doesnt_end_the_session() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    let client = shared.client(&server);
    shared.full.store(true, Ordering::SeqCst);
    server.expire_tokens();
    server.mount_refresh(1, 1).await;
    server.mount_refresh(2, 1).await;
    server.mount_me(2).await;
    client.me().await.unwrap();
    // The next renewal goes on from what is in memory, and is kept once that is possible.
    shared.full.store(false, Ordering::SeqCst);
    server.expire_tokens();
    server.http.reset().await;
    server.mount_refresh(2, 1).await;
    server.mount_me(3).await;
    client.me().await.unwrap();
    assert_eq!(shared.access_token().await.unwrap(), "access-3");
}

#[tokio::test]
async fn logging_in_keeps_the_tokens_and_logging_out_forgets_them() {
    let server = Server::start().await;
    server.mount_login().await;
    server.mount_me(1).await;
    let shared = Shared::default();
    let client = shared.client(&server);
    assert!(matches!(client.me().await, Err(Error::NotLoggedIn)));
    assert_eq!(
        client
            .login("ann@example.org", "password", None)
            .await
            .unwrap()
            .username,
        "ann"
    );
    client.me().await.unwrap();
    assert_eq!(shared.access_token().await.unwrap(), "access-1");

    post("/v1/auth/logout")
        .respond_with(ResponseTemplate::new(204))
        .expect(1)
        .mount(&server.http)
        .await;
    client.logout().await.unwrap();
    assert_eq!(shared.access_token().await, None);
    assert!(matches!(client.me().await, Err(Error::NotLoggedIn)));
}

#[tokio::test]
async fn a_session_that_is_over_can_still_be_logged_out_of() {
    let server = Server::start().await;
    let shared = Shared::with(&server, 1).await;
    let client = shared.client(&server);
    post("/v1/auth/logout")
        .respond_with(problem(401, "unauthenticated"))
        .mount(&server.http)
        .await;
    server.mount_refresh_refused().await;
    client.logout().await.unwrap();
    assert_eq!(shared.access_token().await, None);
}

#[tokio::test]
async fn a_login_in_a_file_is_there_in_the_next_run() {
    let server = Server::start().await;
    server.mount_login().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/login.json");
    let client = || {
        server
            .builder()
            .token_store(FileTokenStore::new(&path))
            .build()
            .unwrap()
    };
    client()
        .login("ann@example.org", "password", Some("laptop"))
        .await
        .unwrap();
    server.mount_me(1).await;
    assert_eq!(client().me().await.unwrap().username, "ann");
    assert_eq!(client().logged_in().await.unwrap().unwrap().username, "ann");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |p: &std::path::Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}

#[tokio::test]
async fn a_crash_while_saving_leaves_the_old_login() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login.json");
    let store = FileTokenStore::new(&path);
    store.save(&server.credentials(1)).await.unwrap();
    // What a crash before the rename leaves behind.
    fs::write(folder.path().join("login.json.99.0.new"), "{\"user\":").unwrap();
    assert_eq!(
        store.load().await.unwrap().unwrap().access_token,
        "access-1"
    );
    store.save(&server.credentials(2)).await.unwrap();
    assert_eq!(
        store.load().await.unwrap().unwrap().access_token,
        "access-2"
    );
}

#[tokio::test]
async fn a_file_that_cant_be_replaced_stays_as_it_was() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login.json");
    // A folder in the file's place: nothing can be renamed over it.
    fs::create_dir_all(path.join("x")).unwrap();
    assert!(
        FileTokenStore::new(&path)
            .save(&server.credentials(1))
            .await
            .is_err()
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "a secret was left behind"
    );
}

#[tokio::test]
async fn a_file_that_makes_no_sense_is_an_error_that_shows_no_secret() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login.json");
    fs::write(&path, "{\"accessToken\":\"s3cret\"").unwrap();
    let client = server
        .builder()
        .token_store(FileTokenStore::new(&path))
        .build()
        .unwrap();
    let error = client.me().await.unwrap_err();
    assert!(matches!(error, Error::TokenStore(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("s3cret"));
    assert!(!format!("{:?}", server.credentials(1)).contains("access-1"));
}

#[tokio::test]
async fn many_savers_leave_one_whole_file() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = FileTokenStore::new(folder.path().join("login.json"));
    let logins: Vec<_> = (0..20).map(|n| server.credentials(n)).collect();
    let saved = join_all(logins.iter().map(|login| store.save(login))).await;
    assert!(saved.iter().all(Result::is_ok));
    assert!(logins.contains(&store.load().await.unwrap().unwrap()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_fixed_token_is_not_renewed() {
    let server = Server::start().await;
    server.mount_me(2).await;
    let client = server.builder().access_token("access-1").build().unwrap();
    assert!(matches!(client.me().await, Err(Error::SessionEnded(_))));
    assert!(client.login("a@b", "password", None).await.is_err());
    let client = server.builder().access_token("access-2").build().unwrap();
    assert_eq!(client.me().await.unwrap().email.unwrap(), user()["email"]);
}
