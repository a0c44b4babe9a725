//! Webhooks as their owners see them.

use super::act::{at, delete_room};
use super::{Backend, Tested};
use crate::model::{EventKind, RoomId, Seq, UserId, Webhook, WebhookSecret};
use crate::store::{NewWebhook, Refusal, StoreError, WebhookOwner};

/// A room's webhooks as one of its members asks for them.
pub(super) const fn of(room_id: RoomId, by: UserId) -> WebhookOwner {
    WebhookOwner::Room { room_id, by }
}

impl Backend {
    /// Makes a webhook of all events, which must not be refused.
    pub(super) async fn hook(&self, owner: WebhookOwner) -> Result<Webhook, StoreError> {
        self.hook_for(owner, None).await
    }

    /// Makes a webhook of these events, which must not be refused.
    pub(super) async fn hook_for(
        &self,
        owner: WebhookOwner,
        events: Option<&[EventKind]>,
    ) -> Result<Webhook, StoreError> {
        let made = self.try_hook(owner, events).await?;
        Ok(made.unwrap_or_else(|refusal| panic!("refused with {refusal:?}")))
    }

    async fn try_hook(
        &self,
        owner: WebhookOwner,
        events: Option<&[EventKind]>,
    ) -> Result<Result<Webhook, Refusal>, StoreError> {
        let new = NewWebhook {
            owner,
            url: "https://example.com/hook",
            events,
            secret: &WebhookSecret("whsec_MQ==".to_owned()),
            at: at(0),
            limit: 3,
        };
        self.webhooks().create_webhook(&new).await
    }
}

/// An admin makes a webhook and finds it in the list; its secret is in neither answer.
pub async fn an_admin_makes_a_webhook(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    let tags = [EventKind::MessageCreated, EventKind::RoomDeleted];
    let some = backend.hook_for(of(room, ada), Some(&tags)).await?;
    let all = backend.hook(of(room, ada)).await?;
    assert_eq!(some.room_id, Some(room));
    assert_eq!(some.events.as_deref(), Some(&tags[..]));
    assert_eq!((some.secret.as_ref(), some.enabled), (None, true));
    assert_eq!((all.events.as_ref(), all.created_at), (None, at(0)));
    let page = backend.webhooks().webhooks(of(room, ada), None, 10).await?;
    assert_eq!(page.expect("an admin").items, [some, all]);
    assert!(backend.webhooks().has_webhooks().await?);
    Ok(())
}

/// Who isn't an admin of the room learns nothing and changes nothing.
pub async fn only_an_admin_has_to_do_with_a_rooms_webhooks(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    let hook = backend.hook(of(room, ada)).await?;
    let secret = WebhookSecret("whsec_Mg==".to_owned());
    let hooks = backend.webhooks();
    for (who, refusal) in [(bob, Refusal::Forbidden), (eve, Refusal::NotFound)] {
        let owner = of(room, who);
        assert_eq!(backend.try_hook(owner, None).await?, Err(refusal));
        assert_eq!(hooks.webhooks(owner, None, 10).await?, Err(refusal));
        assert_eq!(hooks.delete_webhook(owner, hook.id).await?, Err(refusal));
        let renewed = hooks.set_webhook_secret(owner, hook.id, &secret, at(1));
        assert_eq!(renewed.await?, Err(refusal));
        let deliveries = hooks.deliveries(owner, hook.id, None, 10);
        assert_eq!(deliveries.await?, Err(refusal));
        let replayed = hooks.replay_webhook(owner, hook.id, at(1));
        assert_eq!(replayed.await?, Err(refusal));
    }
    let page = hooks.webhooks(of(room, ada), None, 10).await?;
    assert_eq!(page.expect("an admin").items, [hook]);
    Ok(())
}

/// A webhook is found in its own room alone, and the operator's in none.
pub async fn a_webhook_is_found_with_its_owner_alone(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (one, two) = (backend.room(ada).await?, backend.room(ada).await?);
    let hook = backend.hook(of(one, ada)).await?;
    let operators = backend.hook(WebhookOwner::Operator).await?;
    assert_eq!(operators.room_id, None);
    let hooks = backend.webhooks();
    for (owner, id) in [
        (of(two, ada), hook.id),
        (WebhookOwner::Operator, hook.id),
        (of(one, ada), operators.id),
    ] {
        let deleted = hooks.delete_webhook(owner, id).await?;
        assert_eq!(deleted, Err(Refusal::NotFound));
        let read = hooks.deliveries(owner, id, None, 10).await?;
        assert_eq!(read, Err(Refusal::NotFound));
    }
    let own = hooks.webhooks(WebhookOwner::Operator, None, 10).await?;
    assert_eq!(own.expect("no refusal").items, [operators]);
    Ok(())
}

/// A room has so many webhooks at most; one that is removed makes room for another.
pub async fn a_room_has_so_many_webhooks_at_most(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let first = backend.hook(of(room, ada)).await?;
    for _ in 0..2 {
        backend.hook(of(room, ada)).await?;
    }
    let refused = backend.try_hook(of(room, ada), None).await?;
    assert_eq!(refused, Err(Refusal::WebhooksPerRoom));
    let hooks = backend.webhooks();
    let deleted = hooks.delete_webhook(of(room, ada), first.id).await?;
    assert_eq!(deleted, Ok(()));
    let again = hooks.delete_webhook(of(room, ada), first.id).await?;
    assert_eq!(again, Err(Refusal::NotFound));
    backend.hook(of(room, ada)).await?;
    for _ in 0..5 {
        backend.hook(WebhookOwner::Operator).await?;
    }
    Ok(())
}

/// Lists page by id.
pub async fn webhooks_are_paged_by_id(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(backend.hook(of(room, ada)).await?);
    }
    let mut after = None;
    for (n, hook) in made.iter().enumerate() {
        let page = backend.webhooks().webhooks(of(room, ada), after, 1).await?;
        let page = page.expect("an admin");
        assert_eq!(page.items, std::slice::from_ref(hook));
        assert_eq!(page.has_more, n < 2);
        after = Some(hook.id);
    }
    Ok(())
}

/// With a new secret both sign until the old one's time is over.
pub async fn two_secrets_sign_for_a_while(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let hook = backend.hook(of(room, ada)).await?;
    let [old, new] = ["whsec_MQ==", "whsec_Mg=="].map(|text| WebhookSecret(text.to_owned()));
    let hooks = backend.webhooks();
    let renewed = hooks.set_webhook_secret(of(room, ada), hook.id, &new, at(60));
    assert_eq!(renewed.await?, Ok(hook.clone()));
    backend.offer_from(room, 1).await?;
    let taken = backend.claim_at(59, 100).await?;
    assert_eq!(taken[0].secrets, [new.clone(), old]);
    let taken = backend.claim_at(100, 200).await?;
    assert_eq!(taken[0].secrets, [new]);
    Ok(())
}

/// When a room is gone, so are its webhooks, after the event of that is delivered.
pub async fn a_deleted_rooms_webhooks_go_with_their_last_delivery(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    backend.hook(of(room, ada)).await?;
    let gone = backend.done(delete_room(room, ada)).await?;
    let hooks = backend.webhooks();
    assert_eq!(hooks.offer(&gone.events, at(1)).await?, 1);
    backend.sweep_hooks().await?;
    let taken = backend.claim_at(1, 30).await?;
    assert_eq!(taken[0].event.seq(), Seq(2));
    assert!(hooks.has_webhooks().await?);
    backend.delivered(&taken[0], 2).await?;
    backend.sweep_hooks().await?;
    assert!(!hooks.has_webhooks().await?);
    Ok(())
}
