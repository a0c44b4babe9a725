-- Outgoing webhooks: their tables, and all that is done with them. What the tables mean is as in migrations/sqlite.
--
-- Whoever offers a room's events or notes a first attempt in it holds the lock of the room's place, rooms in the order of
-- their ids, and takes deliveries' locks only after it: so one of them sees what the other did, and none waits in a ring.
-- Who takes deliveries waits for nothing: it skips what is locked.

CREATE TABLE webhooks (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id          bigint,           -- null: the operator's, for all rooms
    url              text    NOT NULL,
    events           text,             -- JSON array of tags; null: all
    secret           text    NOT NULL,
    old_secret       text,
    old_secret_until bigint,
    since_seq        bigint  NOT NULL, -- where the room stood when it was made
    enabled          boolean NOT NULL DEFAULT true,
    room_deleted     boolean NOT NULL DEFAULT false, -- its room's last event was offered: it goes with its last delivery
    created_at       bigint  NOT NULL
);
CREATE INDEX webhooks_by_room ON webhooks (room_id, id);
CREATE INDEX webhooks_going ON webhooks (id) WHERE room_deleted;
CREATE INDEX webhooks_disabled ON webhooks (id) WHERE NOT enabled;

CREATE TABLE webhook_places (
    room_id    bigint PRIMARY KEY,
    seq        bigint NOT NULL, -- the highest place offered
    missing    bigint NOT NULL, -- places below it that weren't
    held_until bigint NOT NULL  -- until when first attempts wait for those
) WITH (fillfactor = 50);

-- Its rows change several times within seconds, and are looked for by what changes: it is vacuumed by their number.
CREATE TABLE deliveries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id  bigint NOT NULL,
    room_id     bigint NOT NULL,
    seq         bigint NOT NULL,
    kind        text   NOT NULL,           -- the event's tag
    event       text   NOT NULL,           -- JSON; empty once delivered
    state       text   NOT NULL DEFAULT 'pending', -- 'pending', 'delivered', 'dead'
    attempts    bigint NOT NULL DEFAULT 0,
    last_status bigint,
    last_error  text,
    due_at      bigint, -- of a pending one; null: it waits for the room's earlier first attempts to this webhook
    claim       bigint, -- who attempts it, until due_at
    created_at  bigint NOT NULL,
    finished_at bigint  -- of one that isn't pending
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE UNIQUE INDEX deliveries_once ON deliveries (room_id, seq, webhook_id);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_due ON deliveries (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_pending ON deliveries (webhook_id, id) WHERE state = 'pending';
CREATE INDEX deliveries_untried ON deliveries (webhook_id, room_id, seq) WHERE state = 'pending' AND attempts = 0;
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- Why `by_user` may not ask for the webhooks of a room; null if it may, and for the operator's (no room).
CREATE FUNCTION not_webhook_owner(the_room bigint, by_user bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE WHEN the_room IS NULL THEN NULL ELSE not_admin(the_room, by_user) END;
END
$$;

-- Answers the webhook's id, or else why not.
CREATE FUNCTION create_webhook(
    the_room bigint, by_user bigint, the_url text, the_events text, the_secret text, at bigint, max_webhooks bigint
) RETURNS TABLE (id bigint, refusal text) LANGUAGE plpgsql AS $$
DECLARE
    head bigint := 0;
BEGIN
    IF the_room IS NOT NULL THEN
        SELECT r.seq INTO head FROM rooms r WHERE r.id = the_room AND r.deleted_seq IS NULL FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            refusal := 'notFound';
        ELSE
            refusal := not_admin(the_room, by_user);
            IF refusal IS NULL AND (SELECT count(*) FROM webhooks w WHERE w.room_id = the_room) >= max_webhooks THEN
                refusal := 'webhooksPerRoom';
            END IF;
        END IF;
    END IF;
    IF refusal IS NULL THEN
        INSERT INTO webhooks (room_id, url, events, secret, since_seq, created_at)
        VALUES (the_room, the_url, the_events, the_secret, head, at) RETURNING webhooks.id INTO create_webhook.id;
    END IF;
    RETURN NEXT;
END
$$;

CREATE FUNCTION webhook_row(w webhooks) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_array(w.id, w.room_id, w.url, w.events, w.enabled, w.created_at)
$$;

CREATE FUNCTION read_webhooks(the_room bigint, reader bigint, after bigint, up_to bigint)
RETURNS TABLE (refusal text, items json) LANGUAGE plpgsql STABLE AS $$
BEGIN
    refusal := not_webhook_owner(the_room, reader);
    IF refusal IS NULL THEN
        items := (SELECT coalesce(json_agg(webhook_row(p) ORDER BY p.id), '[]') FROM (
            SELECT w.* FROM webhooks w WHERE w.room_id IS NOT DISTINCT FROM the_room AND w.id > after
            ORDER BY w.id LIMIT up_to + 1
        ) p);
    END IF;
    RETURN NEXT;
END
$$;

-- Why a user may not deal with this webhook of this room; null if it may.
CREATE FUNCTION not_its_webhook(the_room bigint, by_user bigint, the_webhook bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    refusal text := not_webhook_owner(the_room, by_user);
BEGIN
    IF refusal IS NULL AND NOT EXISTS (
        SELECT 1 FROM webhooks w WHERE w.id = the_webhook AND w.room_id IS NOT DISTINCT FROM the_room
    ) THEN
        refusal := 'notFound';
    END IF;
    RETURN refusal;
END
$$;

CREATE FUNCTION delete_webhook(the_room bigint, by_user bigint, the_webhook bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    refusal text := not_its_webhook(the_room, by_user, the_webhook);
BEGIN
    IF refusal IS NULL THEN
        DELETE FROM webhooks w WHERE w.id = the_webhook;
        IF NOT FOUND THEN
            RETURN 'notFound'; -- another was faster
        END IF;
    END IF;
    RETURN refusal;
END
$$;

CREATE FUNCTION set_webhook_secret(the_room bigint, by_user bigint, the_webhook bigint, the_secret text, old_until bigint)
RETURNS TABLE (refusal text, item json) LANGUAGE plpgsql AS $$
BEGIN
    refusal := not_its_webhook(the_room, by_user, the_webhook);
    IF refusal IS NULL THEN
        UPDATE webhooks w SET old_secret = w.secret, old_secret_until = old_until, secret = the_secret
        WHERE w.id = the_webhook RETURNING webhook_row(w) INTO item;
        IF item IS NULL THEN
            refusal := 'notFound';
        END IF;
    END IF;
    RETURN NEXT;
END
$$;

CREATE FUNCTION read_deliveries(the_room bigint, reader bigint, the_webhook bigint, before bigint, up_to bigint)
RETURNS TABLE (refusal text, items json) LANGUAGE plpgsql STABLE AS $$
BEGIN
    refusal := not_its_webhook(the_room, reader, the_webhook);
    IF refusal IS NULL THEN
        items := (SELECT coalesce(json_agg(json_build_array(p.id, p.room_id, p.kind, p.seq, p.state, p.attempts, p.last_status,
                      p.last_error, p.due_at, p.created_at) ORDER BY p.id DESC), '[]') FROM (
            SELECT d.* FROM deliveries d WHERE d.webhook_id = the_webhook AND d.id < before ORDER BY d.id DESC LIMIT up_to + 1
        ) p);
    END IF;
    RETURN NEXT;
END
$$;

CREATE FUNCTION retry_delivery(the_room bigint, by_user bigint, the_webhook bigint, the_delivery bigint, at bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    refusal text := not_its_webhook(the_room, by_user, the_webhook);
BEGIN
    IF refusal IS NOT NULL THEN
        RETURN refusal;
    ELSIF NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = the_delivery AND d.webhook_id = the_webhook) THEN
        RETURN 'notFound';
    ELSIF NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.id = the_webhook AND w.enabled) THEN
        RETURN 'webhookDisabled';
    END IF;
    -- A claim that ran out is nobody's: the delivery is due already.
    UPDATE deliveries d SET state = 'pending', due_at = at, finished_at = NULL
    WHERE d.id = the_delivery AND d.claim IS NULL AND (d.state = 'dead' OR d.state = 'pending' AND d.attempts > 0);
    RETURN NULL;
END
$$;

CREATE FUNCTION replay_webhook(the_room bigint, by_user bigint, the_webhook bigint, at bigint)
RETURNS TABLE (refusal text, replayed bigint) LANGUAGE plpgsql AS $$
BEGIN
    refusal := not_its_webhook(the_room, by_user, the_webhook);
    IF refusal IS NULL AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.id = the_webhook AND w.enabled) THEN
        refusal := 'webhookDisabled';
    END IF;
    IF refusal IS NULL THEN
        UPDATE deliveries d SET state = 'pending', due_at = at, finished_at = NULL
        WHERE d.webhook_id = the_webhook AND d.state = 'dead';
        GET DIAGNOSTICS replayed = ROW_COUNT;
    END IF;
    RETURN NEXT;
END
$$;

-- Has the room's first untried delivery to a webhook be due, and no other, unless one is under way.
CREATE FUNCTION promote_delivery(the_webhook bigint, the_room bigint, due bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first_seq bigint := (
        SELECT d.seq FROM deliveries d
        WHERE d.webhook_id = the_webhook AND d.room_id = the_room AND d.state = 'pending' AND d.attempts = 0
        ORDER BY d.seq LIMIT 1);
BEGIN
    UPDATE deliveries d SET due_at = NULL
    WHERE d.webhook_id = the_webhook AND d.room_id = the_room AND d.state = 'pending' AND d.attempts = 0
      AND d.seq > first_seq AND d.due_at IS NOT NULL AND d.claim IS NULL;
    -- One that was taken since the last statement is seen here, and whoever has it comes by when it is done.
    IF EXISTS (
        SELECT 1 FROM deliveries d
        WHERE d.webhook_id = the_webhook AND d.room_id = the_room AND d.state = 'pending' AND d.attempts = 0
          AND d.claim IS NOT NULL
    ) THEN
        RETURN;
    END IF;
    UPDATE deliveries d SET due_at = due
    WHERE d.webhook_id = the_webhook AND d.room_id = the_room AND d.seq = first_seq AND d.state = 'pending'
      AND d.attempts = 0 AND d.claim IS NULL AND d.due_at IS DISTINCT FROM due;
END
$$;

-- Makes the deliveries of events; answers how many are new. `hold` is how long a place waits for those before it.
CREATE FUNCTION offer_events(
    rooms bigint[], seqs bigint[], kinds text[], bodies text[], at bigint, hold bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint := 0;
    rows_made bigint;
    the_room bigint;
    the_seq bigint;
    hook bigint;
    p webhook_places;
BEGIN
    FOR the_room IN
        SELECT DISTINCT e.room_id FROM unnest(rooms) e (room_id)
        WHERE EXISTS (SELECT 1 FROM webhooks w WHERE w.enabled AND w.room_id IS NULL)
           OR EXISTS (SELECT 1 FROM webhooks w WHERE w.enabled AND w.room_id = e.room_id)
        ORDER BY e.room_id
    LOOP
        INSERT INTO webhook_places (room_id, seq, missing, held_until)
        SELECT the_room, min(e.seq) - 1, 0, 0 FROM unnest(rooms, seqs) e (room_id, seq) WHERE e.room_id = the_room
        ON CONFLICT DO NOTHING;
        SELECT * INTO p FROM webhook_places wp WHERE wp.room_id = the_room FOR UPDATE;
        IF p.held_until <= at THEN
            p.missing := 0;
        END IF;
        FOR the_seq IN
            SELECT DISTINCT e.seq FROM unnest(rooms, seqs) e (room_id, seq) WHERE e.room_id = the_room ORDER BY e.seq
        LOOP
            IF the_seq > p.seq THEN
                IF the_seq > p.seq + 1 THEN
                    p.missing := p.missing + the_seq - p.seq - 1;
                    p.held_until := at + hold;
                END IF;
                p.seq := the_seq;
            ELSIF p.missing > 0 THEN
                p.missing := p.missing - 1;
                IF p.missing = 0 THEN
                    p.held_until := at;
                END IF;
            END IF;
        END LOOP;
        UPDATE webhook_places wp SET seq = p.seq, missing = p.missing, held_until = p.held_until WHERE wp.room_id = the_room;

        INSERT INTO deliveries (webhook_id, room_id, seq, kind, event, created_at)
        SELECT w.id, the_room, e.seq, e.kind, e.body, at
        FROM unnest(rooms, seqs, kinds, bodies) e (room_id, seq, kind, body)
        JOIN webhooks w ON w.enabled AND (w.room_id = the_room OR w.room_id IS NULL)
        WHERE e.room_id = the_room AND e.seq > w.since_seq AND (w.events IS NULL OR w.events::jsonb ? e.kind)
        ORDER BY w.id, e.seq
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS rows_made = ROW_COUNT;
        made := made + rows_made;
        FOR hook IN SELECT w.id FROM webhooks w WHERE w.enabled AND (w.room_id = the_room OR w.room_id IS NULL) ORDER BY w.id LOOP
            PERFORM promote_delivery(hook, the_room, greatest(at, p.held_until));
        END LOOP;
        IF EXISTS (SELECT 1 FROM unnest(rooms, kinds) e (room_id, kind) WHERE e.room_id = the_room AND e.kind = 'roomDeleted') THEN
            UPDATE webhooks w SET room_deleted = true WHERE w.room_id = the_room;
            DELETE FROM webhook_places wp WHERE wp.room_id = the_room;
        END IF;
    END LOOP;
    RETURN made;
END
$$;

CREATE FUNCTION claim_deliveries(the_claim bigint, at bigint, until bigint, up_to bigint, busy bigint[])
RETURNS TABLE (
    id bigint, webhook_id bigint, url text, secret text, old_secret text, attempts bigint, event text, created_at bigint
) LANGUAGE sql AS $$
    WITH due AS (
        SELECT d.id, d.due_at FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
        WHERE d.due_at <= at AND w.enabled AND d.webhook_id <> ALL (busy)
        ORDER BY d.due_at, d.id LIMIT up_to FOR UPDATE OF d SKIP LOCKED
    ), taken AS (
        UPDATE deliveries d SET claim = the_claim, due_at = until FROM due WHERE d.id = due.id
        RETURNING d.id, d.webhook_id, d.attempts, d.event, d.created_at, due.due_at AS was_due_at
    )
    SELECT t.id, t.webhook_id, w.url, w.secret, CASE WHEN w.old_secret_until > at THEN w.old_secret END,
           t.attempts, t.event, t.created_at
    FROM taken t JOIN webhooks w ON w.id = t.webhook_id ORDER BY t.was_due_at, t.id
$$;

-- Notes what became of deliveries: 'delivered', 'again' (at its `due`), 'dead', 'gone' or 'released'.
CREATE FUNCTION finish_deliveries(
    the_claim bigint, ids bigint[], outcomes text[], dues bigint[], statuses bigint[], errors text[], at bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    a record;
    tried bigint;
    held bigint;
BEGIN
    FOR a IN
        SELECT d.id, d.room_id, d.webhook_id, e.outcome, e.due, e.status, e.error
        FROM unnest(ids, outcomes, dues, statuses, errors) e (id, outcome, due, status, error)
        JOIN deliveries d ON d.id = e.id
        WHERE d.claim = the_claim ORDER BY d.room_id, d.id
    LOOP
        IF a.outcome = 'released' THEN
            UPDATE deliveries d SET claim = NULL, due_at = at WHERE d.id = a.id AND d.claim = the_claim;
            CONTINUE;
        END IF;
        held := (SELECT wp.held_until FROM webhook_places wp WHERE wp.room_id = a.room_id FOR UPDATE);
        UPDATE deliveries d SET claim = NULL, attempts = d.attempts + 1,
            state = CASE a.outcome WHEN 'delivered' THEN 'delivered' WHEN 'again' THEN 'pending' ELSE 'dead' END,
            due_at = CASE a.outcome WHEN 'again' THEN a.due END,
            finished_at = CASE a.outcome WHEN 'again' THEN NULL ELSE at END,
            last_status = a.status, last_error = a.error,
            event = CASE a.outcome WHEN 'delivered' THEN '' ELSE d.event END
        WHERE d.id = a.id AND d.claim = the_claim RETURNING d.attempts INTO tried;
        IF NOT FOUND THEN
            CONTINUE;
        END IF;
        IF a.outcome = 'gone' THEN
            UPDATE webhooks w SET enabled = false WHERE w.id = a.webhook_id;
        END IF;
        IF tried = 1 THEN
            PERFORM promote_delivery(a.webhook_id, a.room_id, greatest(at, held));
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION webhook_backlog() RETURNS TABLE (pending bigint, oldest_untried bigint) LANGUAGE sql STABLE AS $$
    SELECT count(*), min(d.created_at) FILTER (WHERE d.attempts = 0)
    FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE d.state = 'pending' AND w.enabled
$$;

-- Whether there may be more to do. One node sweeps at a time: to another there is nothing.
CREATE FUNCTION sweep_webhooks(at bigint, forget_before bigint, max_rows bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    touched bigint;
    orphan bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('chat webhook sweep')) THEN
        RETURN false;
    END IF;
    -- Webhooks that are gone and have deliveries left: the ids one by one, from the index.
    orphan := (
        WITH RECURSIVE owners (id) AS (
            SELECT min(d.webhook_id) FROM deliveries d
            UNION ALL
            SELECT (SELECT min(d.webhook_id) FROM deliveries d WHERE d.webhook_id > o.id) FROM owners o WHERE o.id IS NOT NULL
        )
        SELECT o.id FROM owners o WHERE o.id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.id = o.id) LIMIT 1);
    IF orphan IS NOT NULL THEN
        DELETE FROM deliveries d WHERE d.id = ANY (ARRAY(
            SELECT x.id FROM deliveries x WHERE x.webhook_id = orphan LIMIT max_rows));
        RETURN true;
    END IF;
    UPDATE deliveries d SET state = 'dead', due_at = NULL, claim = NULL, finished_at = at,
        last_error = coalesce(d.last_error, 'the webhook is disabled')
    WHERE d.id = ANY (ARRAY(
        SELECT x.id FROM webhooks w JOIN deliveries x ON x.webhook_id = w.id
        WHERE NOT w.enabled AND x.state = 'pending' LIMIT max_rows));
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched > 0 THEN
        RETURN true;
    END IF;
    DELETE FROM deliveries d WHERE d.id = ANY (ARRAY(
        SELECT x.id FROM deliveries x WHERE x.finished_at < forget_before LIMIT max_rows));
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched > 0 THEN
        RETURN true;
    END IF;
    DELETE FROM webhooks w WHERE w.id = ANY (ARRAY(
        SELECT x.id FROM webhooks x WHERE x.room_deleted AND NOT EXISTS (
            SELECT 1 FROM deliveries d WHERE d.webhook_id = x.id AND d.state = 'pending') LIMIT max_rows));
    GET DIAGNOSTICS touched = ROW_COUNT;
    RETURN touched > 0;
END
$$;
