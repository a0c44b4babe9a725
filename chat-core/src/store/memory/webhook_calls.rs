//! The trait of webhooks: each method a read or a write of the database.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::database::Database;
use super::webhooks::New;
use super::{Call, Memory};
use crate::model::{Delivery, DeliveryId, Event, Timestamp, Webhook, WebhookId, WebhookSecret};
use crate::protocol::rest::Page;
use crate::store::{
    Attempt, Backlog, Claim, ClaimId, Claimed, NewWebhook, Refusal, StoreError, WebhookOwner,
    WebhookSweep, Webhooks,
};

#[async_trait]
impl Webhooks for Memory {
    async fn create_webhook(
        &self,
        webhook: &NewWebhook<'_>,
    ) -> Result<Result<Webhook, Refusal>, StoreError> {
        let new = New {
            owner: webhook.owner,
            url: webhook.url.to_owned(),
            events: webhook.events.map(<[_]>::to_vec),
            secret: webhook.secret.clone(),
            at: webhook.at,
            limit: webhook.limit,
        };
        self.write(Call::Write, move |db| db.create_webhook(&new))
            .await
    }

    async fn webhooks(
        &self,
        owner: WebhookOwner,
        after: Option<WebhookId>,
        limit: i64,
    ) -> Result<Result<Page<Webhook>, Refusal>, StoreError> {
        self.read(|db| db.webhooks_page(owner, after, limit)).await
    }

    async fn delete_webhook(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
    ) -> Result<Result<(), Refusal>, StoreError> {
        self.write(Call::Write, move |db| {
            db.owned(owner, webhook)?;
            db.webhooks.remove(&webhook);
            Ok(())
        })
        .await
    }

    async fn set_webhook_secret(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        secret: &WebhookSecret,
        old_until: Timestamp,
    ) -> Result<Result<Webhook, Refusal>, StoreError> {
        let secret = secret.clone();
        self.write(Call::Write, move |db| {
            db.set_webhook_secret(owner, webhook, &secret, old_until)
        })
        .await
    }

    async fn deliveries(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        before: Option<DeliveryId>,
        limit: i64,
    ) -> Result<Result<Page<Delivery>, Refusal>, StoreError> {
        self.read(|db| db.deliveries_page(owner, webhook, before, limit))
            .await
    }

    async fn retry_delivery(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        delivery: DeliveryId,
        at: Timestamp,
    ) -> Result<Result<(), Refusal>, StoreError> {
        self.write(Call::Write, move |db| {
            db.retry_delivery(owner, webhook, delivery, at)
        })
        .await
    }

    async fn replay_webhook(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        at: Timestamp,
    ) -> Result<Result<u64, Refusal>, StoreError> {
        self.write(Call::Write, move |db| db.replay_webhook(owner, webhook, at))
            .await
    }

    async fn has_webhooks(&self) -> Result<bool, StoreError> {
        self.read(|db| db.webhooks.values().any(|row| row.webhook.enabled))
            .await
    }

    async fn offer(&self, events: &[Event], at: Timestamp) -> Result<u64, StoreError> {
        let events = events.to_vec();
        self.write(Call::Write, move |db| db.offer(&events, at))
            .await
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError> {
        let (id, at, until, limit) = (claim.id, claim.at, claim.until, claim.limit);
        let busy: BTreeSet<WebhookId> = claim.busy.iter().copied().collect();
        self.write(Call::Write, move |db| db.claim(id, at, until, limit, &busy))
            .await
    }

    async fn finish(
        &self,
        claim: ClaimId,
        attempts: &[Attempt],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let attempts = attempts.to_vec();
        self.write(Call::Write, move |db| {
            for attempt in &attempts {
                db.finish(claim, attempt, at);
            }
        })
        .await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.read(Database::backlog).await
    }

    async fn sweep_webhooks(&self, ctx: &WebhookSweep) -> Result<bool, StoreError> {
        let ctx = *ctx;
        self.write(Call::Write, move |db| db.sweep_webhooks(&ctx))
            .await
    }
}
