//! Events that become deliveries, who takes those, and what becomes of them.

use super::act::at;
use super::webhooks::of;
use super::{Backend, Tested};
use crate::model::{
    Delivery, DeliveryState, Event, EventKind, RoomId, Seq, UserId, Webhook, WebhookId,
};
use crate::store::{
    Attempt, AttemptOutcome, Claim, ClaimId, Claimed, OFFER_HOLD, Refusal, StoreError,
    WebhookOwner, WebhookSweep,
};

/// An event of a room at a place.
fn event(room_id: RoomId, seq: i64) -> Event {
    Event::MessagesDeleted {
        room_id,
        seq: Seq(seq),
        sender_id: UserId(7),
    }
}

fn events(room: RoomId, seqs: impl IntoIterator<Item = i64>) -> Vec<Event> {
    seqs.into_iter().map(|seq| event(room, seq)).collect()
}

/// The places of what was taken.
fn places(taken: &[Claimed]) -> Vec<i64> {
    taken.iter().map(|claimed| claimed.event.seq().0).collect()
}

fn attempt(claimed: &Claimed, outcome: AttemptOutcome) -> Attempt {
    Attempt {
        delivery: claimed.id,
        outcome,
        status: None,
        error: None,
    }
}

/// Takings of one moment are made by one claimant.
const fn claimant(second: u64) -> ClaimId {
    ClaimId(1_000 + second.cast_signed())
}

impl Backend {
    /// Offers the room's next `count` events after its first, as of the beginning.
    pub(super) async fn offer_from(&self, room: RoomId, count: i64) -> Result<u64, StoreError> {
        self.webhooks()
            .offer(&events(room, 2..2 + count), at(0))
            .await
    }

    /// Takes all that is due.
    pub(super) async fn claim_at(&self, now: u64, until: u64) -> Result<Vec<Claimed>, StoreError> {
        let claim = Claim {
            id: claimant(now),
            at: at(now),
            until: at(until),
            limit: 100,
            busy: &[],
        };
        self.webhooks().claim(&claim).await
    }

    /// Notes that what was taken at `taken` came to this, at the same moment.
    async fn came_to(
        &self,
        taken: u64,
        claimed: &Claimed,
        outcome: AttemptOutcome,
    ) -> Result<(), StoreError> {
        let attempts = [attempt(claimed, outcome)];
        let hooks = self.webhooks();
        hooks.finish(claimant(taken), &attempts, at(taken)).await
    }

    /// Notes that what was taken at second 1 is delivered.
    pub(super) async fn delivered(&self, claimed: &Claimed, now: u64) -> Result<(), StoreError> {
        let attempts = [attempt(claimed, AttemptOutcome::Delivered)];
        self.webhooks()
            .finish(claimant(1), &attempts, at(now))
            .await
    }

    pub(super) async fn sweep_hooks(&self) -> Result<u32, StoreError> {
        let ctx = WebhookSweep {
            at: at(10),
            forget_before: at(5),
            max_rows: 2,
        };
        let mut steps = 0;
        while self.webhooks().sweep_webhooks(&ctx).await? {
            steps += 1;
            assert!(steps < 100, "it comes to an end");
        }
        Ok(steps)
    }

    async fn room_with_hook(&self) -> Result<(RoomId, WebhookOwner, Webhook), StoreError> {
        let ada = self.user("Ada").await?;
        let room = self.room(ada).await?;
        let owner = of(room, ada);
        Ok((room, owner, self.hook(owner).await?))
    }

    async fn states(
        &self,
        owner: WebhookOwner,
        hook: WebhookId,
    ) -> Result<Vec<Delivery>, StoreError> {
        let page = self.webhooks().deliveries(owner, hook, None, 100).await?;
        Ok(page.expect("its owner").items)
    }
}

/// An event becomes a delivery to each webhook that wants it: its room's, and the operator's.
pub async fn an_event_is_delivered_to_whoever_wants_it(backend: Backend) -> Tested {
    let (room, owner, all) = backend.room_with_hook().await?;
    let tags = [EventKind::MessageCreated];
    backend.hook_for(owner, Some(&tags)).await?;
    let tags = [EventKind::MessagesDeleted, EventKind::RoomDeleted];
    let some = backend.hook_for(owner, Some(&tags)).await?;
    let operators = backend.hook(WebhookOwner::Operator).await?;
    assert_eq!(backend.offer_from(room, 1).await?, 3);
    let mut taken = backend.claim_at(0, 30).await?;
    taken.sort_by_key(|claimed| claimed.webhook_id);
    let ids: Vec<_> = taken.iter().map(|claimed| claimed.webhook_id).collect();
    assert_eq!(ids, [all.id, some.id, operators.id]);
    for claimed in &taken {
        assert_eq!(claimed.event, event(room, 2));
        assert_eq!(claimed.url, "https://example.com/hook");
        assert_eq!((claimed.attempts, claimed.created_at), (0, at(0)));
    }
    Ok(())
}

/// A room's webhook gets what comes after the place at which it was made, and of its room alone.
pub async fn a_webhook_gets_what_comes_after_it(backend: Backend) -> Tested {
    let (room, _, _) = backend.room_with_hook().await?;
    let ada = backend.user("Ada").await?;
    let other = backend.room(ada).await?;
    let hooks = backend.webhooks();
    assert_eq!(hooks.offer(&events(room, [1]), at(0)).await?, 0);
    assert_eq!(hooks.offer(&events(other, [2, 3]), at(0)).await?, 0);
    assert_eq!(hooks.offer(&events(room, [2]), at(0)).await?, 1);
    assert_eq!(hooks.offer(&[], at(0)).await?, 0);
    Ok(())
}

/// However often an event is offered, in whatever company and order, it is one delivery.
pub async fn an_event_offered_again_is_one_delivery(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    assert_eq!(hooks.offer(&events(room, [2, 3, 2]), at(0)).await?, 2);
    assert_eq!(hooks.offer(&events(room, [3, 4]), at(0)).await?, 1);
    let taken = backend.claim_at(1, 30).await?;
    backend.delivered(&taken[0], 1).await?;
    assert_eq!(hooks.offer(&events(room, [4, 3, 2]), at(2)).await?, 0);
    let states = backend.states(owner, hook.id).await?;
    let seqs: Vec<_> = states.iter().map(|delivery| delivery.seq.0).collect();
    assert_eq!(seqs, [4, 3, 2]);
    Ok(())
}

/// Of many who offer the same events at once, one makes the deliveries.
pub async fn concurrent_offers_are_one_delivery(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    let mut offers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let hooks = backend.webhooks();
        offers.spawn(async move { hooks.offer(&events(room, 2..12 + n % 2), at(0)).await });
    }
    let mut made = 0;
    while let Some(offer) = offers.join_next().await {
        made += offer.expect("no panic")?;
    }
    assert_eq!(made, 11);
    assert_eq!(backend.states(owner, hook.id).await?.len(), 11);
    assert_eq!(places(&backend.claim_at(0, 30).await?), [2]);
    Ok(())
}

/// First attempts are in the order of places, one at a time; each one's end, good or bad, begins the next.
pub async fn first_attempts_are_in_order(backend: Backend) -> Tested {
    let (room, _, _) = backend.room_with_hook().await?;
    backend.offer_from(room, 3).await?;
    let first = backend.claim_at(1, 30).await?;
    assert_eq!(places(&first), [2]);
    assert_eq!(backend.claim_at(2, 30).await?, [], "one at a time");
    let again = AttemptOutcome::Again(at(100));
    backend.came_to(1, &first[0], again).await?;
    let second = backend.claim_at(3, 30).await?;
    assert_eq!(places(&second), [3], "one that fails doesn't hold it up");
    backend.came_to(3, &second[0], AttemptOutcome::Dead).await?;
    let third = backend.claim_at(4, 30).await?;
    assert_eq!(places(&third), [4]);
    backend
        .came_to(4, &third[0], AttemptOutcome::Delivered)
        .await?;
    assert_eq!(backend.claim_at(99, 130).await?, []);
    assert_eq!(places(&backend.claim_at(100, 130).await?), [2]);
    Ok(())
}

/// What is offered while an attempt is under way waits for it, and is next.
pub async fn what_comes_meanwhile_waits(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    backend.offer_from(room, 1).await?;
    let first = backend.claim_at(1, 30).await?;
    hooks.offer(&events(room, [3]), at(1)).await?;
    assert_eq!(backend.claim_at(2, 30).await?, []);
    let waits = backend.states(owner, hook.id).await?;
    assert_eq!((waits[0].next_attempt_at, waits[0].seq), (None, Seq(3)));
    backend.delivered(&first[0], 2).await?;
    assert_eq!(places(&backend.claim_at(3, 30).await?), [3]);
    Ok(())
}

/// An event that comes before an earlier one waits for that, so that two publishers' swap isn't seen.
pub async fn a_swap_is_put_in_order(backend: Backend) -> Tested {
    let (room, _, _) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    hooks.offer(&events(room, [2]), at(0)).await?;
    let taken = backend.claim_at(1, 30).await?;
    hooks.offer(&events(room, [4, 5]), at(1)).await?;
    backend.delivered(&taken[0], 1).await?;
    assert_eq!(backend.claim_at(2, 30).await?, [], "the third is missing");
    hooks.offer(&events(room, [3]), at(2)).await?;
    for (second, place) in [(3, 3), (4, 4), (5, 5)] {
        let taken = backend.claim_at(second, 30).await?;
        assert_eq!(places(&taken), [place]);
        backend
            .came_to(second, &taken[0], AttemptOutcome::Delivered)
            .await?;
    }
    Ok(())
}

/// A place that stays missing is not waited for longer than agreed; the event that comes after all is delivered.
pub async fn a_lost_event_does_not_stop_the_rest(backend: Backend) -> Tested {
    let (room, _, _) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    hooks.offer(&events(room, [2]), at(0)).await?;
    let taken = backend.claim_at(1, 30).await?;
    backend.delivered(&taken[0], 1).await?;
    hooks.offer(&events(room, [5]), at(1)).await?;
    let end = 1 + OFFER_HOLD.as_secs();
    assert_eq!(backend.claim_at(end - 1, 90).await?, []);
    let taken = backend.claim_at(end, 90).await?;
    assert_eq!(places(&taken), [5]);
    backend
        .came_to(end, &taken[0], AttemptOutcome::Delivered)
        .await?;
    hooks.offer(&events(room, [3]), at(20)).await?;
    assert_eq!(places(&backend.claim_at(20, 90).await?), [3]);
    Ok(())
}

/// Webhooks and rooms don't wait for each other.
pub async fn webhooks_do_not_wait_for_each_other(backend: Backend) -> Tested {
    let (room, owner, slow) = backend.room_with_hook().await?;
    let ada = backend.user("Ada").await?;
    let other = backend.room(ada).await?;
    backend.hook(owner).await?;
    let operators = backend.hook(WebhookOwner::Operator).await?;
    let hooks = backend.webhooks();
    let both = [events(room, [2, 3]), events(other, [2, 3])].concat();
    assert_eq!(hooks.offer(&both, at(0)).await?, 8);
    let taken = backend.claim_at(1, 30).await?;
    assert_eq!(places(&taken), [2, 2, 2, 2], "the operator's: one a room");
    for claimed in taken.iter().filter(|c| c.webhook_id != slow.id) {
        backend.delivered(claimed, 2).await?;
    }
    let busy = [operators.id];
    let claim = Claim {
        id: claimant(3),
        at: at(3),
        until: at(30),
        limit: 100,
        busy: &busy,
    };
    assert_eq!(places(&hooks.claim(&claim).await?), [3], "but busy ones");
    let limited = Claim {
        limit: 1,
        busy: &[],
        ..claim
    };
    assert_eq!(hooks.claim(&limited).await?.len(), 1);
    assert_eq!(hooks.claim(&limited).await?.len(), 1);
    assert_eq!(hooks.claim(&limited).await?, []);
    Ok(())
}

/// Of many who take at once, each delivery goes to one.
pub async fn a_delivery_is_taken_by_one(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    backend.hook(WebhookOwner::Operator).await?;
    let mut offered = Vec::new();
    for _ in 0..20 {
        offered.push(event(backend.room(ada).await?, 2));
    }
    assert_eq!(backend.webhooks().offer(&offered, at(0)).await?, 20);
    let mut takers = tokio::task::JoinSet::new();
    for n in 0..6 {
        let hooks = backend.webhooks();
        takers.spawn(async move {
            let mut taken = Vec::new();
            for m in 0..10 {
                let claim = Claim {
                    id: ClaimId(n * 100 + m),
                    at: at(1),
                    until: at(30),
                    limit: 3,
                    busy: &[],
                };
                taken.extend(hooks.claim(&claim).await?);
            }
            Ok::<_, StoreError>(taken)
        });
    }
    let mut taken = Vec::new();
    while let Some(part) = takers.join_next().await {
        taken.extend(part.expect("no panic")?.into_iter().map(|c| c.id));
    }
    taken.sort_unstable();
    let all = taken.len();
    taken.dedup();
    assert_eq!((all, taken.len()), (20, 20));
    Ok(())
}

/// What a consumer took that died is due again when its time is over; what it says after that isn't heard.
pub async fn what_a_dead_consumer_took_is_due_again(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    backend.offer_from(room, 2).await?;
    let first = backend.claim_at(1, 30).await?;
    assert_eq!(backend.claim_at(29, 90).await?, []);
    let second = backend.claim_at(30, 90).await?;
    assert_eq!(first[0].id, second[0].id);
    assert_eq!(second[0].attempts, 0);
    backend.delivered(&first[0], 31).await?;
    let states = backend.states(owner, hook.id).await?;
    assert_eq!(states[1].state, DeliveryState::Pending, "too late");
    backend
        .came_to(30, &second[0], AttemptOutcome::Delivered)
        .await?;
    let states = backend.states(owner, hook.id).await?;
    assert_eq!(states[1].state, DeliveryState::Delivered);
    assert_eq!(places(&backend.claim_at(31, 90).await?), [3]);
    Ok(())
}

/// A delivery given back is as if it had not been taken.
pub async fn a_delivery_is_given_back(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    backend.offer_from(room, 2).await?;
    let taken = backend.claim_at(1, 30).await?;
    backend
        .came_to(1, &taken[0], AttemptOutcome::Released)
        .await?;
    let states = backend.states(owner, hook.id).await?;
    assert_eq!(
        (states[1].attempts, states[1].next_attempt_at),
        (0, Some(at(1)))
    );
    assert_eq!(places(&backend.claim_at(2, 30).await?), [2]);
    Ok(())
}

/// What became of a delivery is told to the webhook's owner, newest first, in pages.
pub async fn deliveries_tell_what_became_of_them(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    backend.offer_from(room, 3).await?;
    let taken = backend.claim_at(1, 30).await?;
    let failed = Attempt {
        status: Some(503),
        error: Some("no".to_owned()),
        ..attempt(&taken[0], AttemptOutcome::Again(at(100)))
    };
    hooks.finish(claimant(1), &[failed], at(2)).await?;
    let states = backend.states(owner, hook.id).await?;
    let wanted = Delivery {
        id: taken[0].id,
        room_id: room,
        kind: EventKind::MessagesDeleted,
        seq: Seq(2),
        state: DeliveryState::Pending,
        attempts: 1,
        last_status: Some(503),
        last_error: Some("no".to_owned()),
        next_attempt_at: Some(at(100)),
        created_at: at(0),
    };
    assert_eq!(states[2], wanted);
    assert_eq!(states[1].next_attempt_at, Some(at(2)));
    let page = hooks.deliveries(owner, hook.id, None, 2).await?;
    let page = page.expect("its owner");
    assert_eq!((&page.items[..], page.has_more), (&states[..2], true));
    let rest = hooks
        .deliveries(owner, hook.id, Some(states[1].id), 2)
        .await?;
    let rest = rest.expect("its owner");
    assert_eq!((&rest.items[..], rest.has_more), (&states[2..], false));
    Ok(())
}

/// One that is dead, or waits to be tried again, is tried at once when its owner asks; others are left as they are.
pub async fn a_delivery_is_retried(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    backend.offer_from(room, 3).await?;
    let dead = backend.claim_at(1, 30).await?.remove(0);
    backend.came_to(1, &dead, AttemptOutcome::Dead).await?;
    let waits = backend.claim_at(2, 30).await?.remove(0);
    let again = AttemptOutcome::Again(at(1_000));
    backend.came_to(2, &waits, again).await?;
    let runs = backend.claim_at(3, 30).await?.remove(0);
    for claimed in [&dead, &waits, &runs] {
        let retried = hooks.retry_delivery(owner, hook.id, claimed.id, at(5));
        assert_eq!(retried.await?, Ok(()));
    }
    let taken = backend.claim_at(5, 30).await?;
    assert_eq!(places(&taken), [2, 3]);
    assert_eq!(taken[0].attempts, 1);
    let done = AttemptOutcome::Delivered;
    backend.came_to(5, &taken[0], done).await?;
    let retried = hooks.retry_delivery(owner, hook.id, dead.id, at(6));
    assert_eq!(retried.await?, Ok(()));
    assert_eq!(backend.claim_at(6, 30).await?, [], "it is delivered");
    let other = backend.hook(owner).await?;
    let retried = hooks.retry_delivery(owner, other.id, dead.id, at(6));
    assert_eq!(retried.await?, Err(Refusal::NotFound));
    Ok(())
}

/// All that is dead of a webhook is tried again at once when its owner asks.
pub async fn the_dead_are_replayed(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    backend.offer_from(room, 4).await?;
    for second in 1..4 {
        let taken = backend.claim_at(second, 30).await?.remove(0);
        let outcome = if second == 2 {
            AttemptOutcome::Delivered
        } else {
            AttemptOutcome::Dead
        };
        backend.came_to(second, &taken, outcome).await?;
    }
    let replayed = hooks.replay_webhook(owner, hook.id, at(10)).await?;
    assert_eq!(replayed, Ok(2));
    let mut taken = places(&backend.claim_at(10, 30).await?);
    taken.sort_unstable();
    assert_eq!(taken, [2, 4, 5]);
    Ok(())
}

/// A receiver that doesn't want it any more gets nothing more.
pub async fn a_disabled_webhook_gets_nothing(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    backend.offer_from(room, 3).await?;
    let taken = backend.claim_at(1, 30).await?;
    backend.came_to(1, &taken[0], AttemptOutcome::Gone).await?;
    let page = hooks.webhooks(owner, None, 10).await?.expect("an admin");
    assert!(!page.items[0].enabled);
    assert!(!hooks.has_webhooks().await?);
    assert_eq!(backend.claim_at(2, 30).await?, []);
    assert_eq!(hooks.offer(&events(room, [5]), at(2)).await?, 0);
    assert_eq!(hooks.backlog().await?.pending, 0);
    let retried = hooks.retry_delivery(owner, hook.id, taken[0].id, at(3));
    assert_eq!(retried.await?, Err(Refusal::WebhookDisabled));
    let replayed = hooks.replay_webhook(owner, hook.id, at(3)).await?;
    assert_eq!(replayed, Err(Refusal::WebhookDisabled));
    backend.sweep_hooks().await?;
    for delivery in backend.states(owner, hook.id).await? {
        assert_eq!(delivery.state, DeliveryState::Dead);
        assert_eq!(delivery.next_attempt_at, None);
    }
    Ok(())
}

/// What waits is counted, and how long the longest.
pub async fn the_backlog_is_known(backend: Backend) -> Tested {
    let (room, _, _) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    assert_eq!(hooks.backlog().await?, crate::store::Backlog::default());
    backend.offer_from(room, 2).await?;
    hooks.offer(&events(room, [4]), at(1)).await?;
    let backlog = hooks.backlog().await?;
    assert_eq!((backlog.pending, backlog.oldest_untried), (3, Some(at(0))));
    for second in [1, 2] {
        let taken = backend.claim_at(second, 30).await?.remove(0);
        let again = AttemptOutcome::Again(at(100));
        backend.came_to(second, &taken, again).await?;
    }
    let backlog = hooks.backlog().await?;
    assert_eq!((backlog.pending, backlog.oldest_untried), (3, Some(at(1))));
    Ok(())
}

/// What is over long since is forgotten, as are a removed webhook's deliveries, a few at a time.
pub async fn old_deliveries_are_forgotten(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    let hooks = backend.webhooks();
    let removed = backend.hook(owner).await?;
    assert_eq!(backend.offer_from(room, 4).await?, 8);
    let deleted = hooks.delete_webhook(owner, removed.id).await?;
    assert_eq!(deleted, Ok(()));
    for second in [1, 3, 7] {
        let taken = backend.claim_at(second, 30).await?.remove(0);
        assert_eq!(taken.webhook_id, hook.id);
        let outcome = if second == 3 {
            AttemptOutcome::Dead
        } else {
            AttemptOutcome::Delivered
        };
        backend.came_to(second, &taken, outcome).await?;
    }
    assert!(backend.sweep_hooks().await? >= 2, "a step is bounded");
    let states = backend.states(owner, hook.id).await?;
    let seqs: Vec<_> = states.iter().map(|delivery| delivery.seq.0).collect();
    assert_eq!(seqs, [5, 4], "that of second 7, and that which waits");
    assert_eq!(hooks.backlog().await?.pending, 1);
    Ok(())
}

/// All of it survives that the database is closed.
pub async fn deliveries_survive_reopening(backend: Backend) -> Tested {
    let (room, owner, hook) = backend.room_with_hook().await?;
    backend.offer_from(room, 2).await?;
    let taken = backend.claim_at(1, 30).await?;
    backend.delivered(&taken[0], 1).await?;
    let before = backend.states(owner, hook.id).await?;
    let backend = backend.reopen().await;
    assert_eq!(backend.states(owner, hook.id).await?, before);
    let hooks = backend.webhooks();
    assert_eq!(hooks.offer(&events(room, [2, 3]), at(2)).await?, 0);
    assert_eq!(places(&backend.claim_at(2, 30).await?), [3]);
    Ok(())
}
