-- Outgoing webhooks. What an event becomes is one delivery for each webhook, known by its room, place and webhook, so that an
-- event offered again is the same delivery.

CREATE TABLE webhooks (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    room_id          INTEGER,          -- null: the operator's, for all rooms
    url              TEXT    NOT NULL,
    events           TEXT,             -- JSON array of tags; null: all
    secret           TEXT    NOT NULL, -- as it is shown; signing needs it, so it can't be hashed
    old_secret       TEXT,
    old_secret_until INTEGER,
    since_seq        INTEGER NOT NULL, -- where the room stood when it was made
    enabled          INTEGER NOT NULL DEFAULT 1,
    room_deleted     INTEGER NOT NULL DEFAULT 0, -- its room's last event was offered: it goes with its last delivery
    created_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX webhooks_by_room ON webhooks (room_id, id);
CREATE INDEX webhooks_going ON webhooks (id) WHERE room_deleted = 1;
CREATE INDEX webhooks_disabled ON webhooks (id) WHERE enabled = 0;

-- Where the offers of a room that has webhooks stand: for the order of first attempts.
CREATE TABLE webhook_places (
    room_id    INTEGER PRIMARY KEY,
    seq        INTEGER NOT NULL, -- the highest place offered
    missing    INTEGER NOT NULL, -- places below it that weren't
    held_until INTEGER NOT NULL  -- until when first attempts wait for those
) STRICT;

CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id  INTEGER NOT NULL,
    room_id     INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    kind        TEXT    NOT NULL,           -- the event's tag
    event       TEXT    NOT NULL,           -- JSON; empty once delivered
    state       TEXT    NOT NULL DEFAULT 'pending', -- 'pending', 'delivered', 'dead'
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    last_error  TEXT,
    due_at      INTEGER, -- of a pending one; null: it waits for the room's earlier first attempts to this webhook
    claim       INTEGER, -- who attempts it, until due_at
    created_at  INTEGER NOT NULL,
    finished_at INTEGER  -- of one that isn't pending
) STRICT;
CREATE UNIQUE INDEX deliveries_once ON deliveries (room_id, seq, webhook_id);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_due ON deliveries (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_pending ON deliveries (webhook_id, id) WHERE state = 'pending';
CREATE INDEX deliveries_untried ON deliveries (webhook_id, room_id, seq) WHERE state = 'pending' AND attempts = 0;
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
