-- Cleaning, a bounded step at a time. A step does one kind of thing, and in a room only under its lock, like any change.

-- Whether there may be more to do. One node sweeps at a time: to another there is nothing.
CREATE FUNCTION sweep_step(
    at bigint, retain_from bigint, forget_ended_before bigint, forget_invites_before bigint, forget_addresses_before bigint,
    max_rows bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    touched bigint;
    room bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('chat sweep')) THEN
        RETURN false;
    END IF;
    room := (SELECT room_id FROM erasures ORDER BY room_id, sender_id LIMIT 1);
    IF room IS NOT NULL THEN
        PERFORM scrub(room, max_rows);
        RETURN true;
    END IF;
    room := (SELECT id FROM rooms WHERE deleted_seq IS NOT NULL ORDER BY id LIMIT 1);
    IF room IS NOT NULL THEN
        PERFORM purge_room(room, max_rows);
        RETURN true;
    END IF;
    IF retain_from IS NOT NULL AND prune(retain_from, max_rows) > 0 THEN
        RETURN true;
    END IF;

    DELETE FROM invites WHERE id = ANY (ARRAY(SELECT i.id FROM invites i WHERE i.expires_at <= forget_invites_before LIMIT max_rows));
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched > 0 THEN
        RETURN true;
    END IF;
    -- A session's spent tokens go before it: there may be many.
    DELETE FROM spent_tokens USING (
        SELECT t.session_id, t.token_hash FROM sessions s JOIN spent_tokens t ON t.session_id = s.id
        WHERE s.expires_at <= at OR s.ended_at <= at LIMIT max_rows
    ) gone WHERE spent_tokens.session_id = gone.session_id AND spent_tokens.token_hash = gone.token_hash;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched > 0 THEN
        RETURN true;
    END IF;
    DELETE FROM sessions WHERE id = ANY (ARRAY(SELECT s.id FROM sessions s WHERE s.expires_at <= at OR s.ended_at <= at LIMIT max_rows));
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched > 0 THEN
        RETURN true;
    END IF;
    DELETE FROM ended_sessions WHERE session = ANY (ARRAY(
        SELECT e.session FROM ended_sessions e WHERE e.ended_at < forget_ended_before LIMIT max_rows));
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched > 0 THEN
        RETURN true;
    END IF;
    DELETE FROM known_addresses USING (
        SELECT a.user_id, a.address_hash FROM known_addresses a WHERE a.seen_at < forget_addresses_before LIMIT max_rows
    ) gone WHERE known_addresses.user_id = gone.user_id AND known_addresses.address_hash = gone.address_hash;
    GET DIAGNOSTICS touched = ROW_COUNT;
    RETURN touched > 0;
END
$$;

-- Empties messages that a room's first bulk deletion took. It looks at more rows than it may touch: looking is cheap beside
-- a commit.
CREATE FUNCTION scrub(room bigint, max_rows bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    e erasures;
    places bigint[];
    reached bigint;
BEGIN
    PERFORM lock_rooms(ARRAY[room]);
    SELECT * INTO e FROM erasures WHERE room_id = room ORDER BY sender_id LIMIT 1;
    places := ARRAY(
        SELECT p.seq FROM (
            SELECT m.seq, m.sender_id, m.deleted_at FROM messages m
            WHERE m.room_id = room AND m.seq > e.scrubbed_to AND m.seq < e.seq
            ORDER BY m.seq LIMIT max_rows * 20
        ) p
        WHERE p.sender_id = e.sender_id AND p.deleted_at IS NULL ORDER BY p.seq LIMIT max_rows);
    IF cardinality(places) = max_rows THEN
        reached := places[max_rows];
    ELSE
        -- All that was looked at: its last row, if there may be more behind.
        reached := (
            SELECT m.seq FROM messages m WHERE m.room_id = room AND m.seq > e.scrubbed_to AND m.seq < e.seq
            ORDER BY m.seq LIMIT 1 OFFSET max_rows * 20 - 1);
    END IF;
    UPDATE messages m SET content = '', deleted_at = e.erased_at, first_hash = kept_hash(m)
    WHERE m.room_id = room AND m.seq = ANY (places);
    IF reached IS NULL THEN
        DELETE FROM erasures WHERE room_id = room AND sender_id = e.sender_id;
    ELSE
        UPDATE erasures SET scrubbed_to = reached WHERE room_id = room AND sender_id = e.sender_id;
    END IF;
END
$$;

-- Removes a deleted room with what is in it. Who was in it stays.
CREATE FUNCTION purge_room(room bigint, max_rows bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    touched bigint;
BEGIN
    PERFORM lock_rooms(ARRAY[room]);
    DELETE FROM messages m WHERE m.room_id = room AND m.seq = ANY (ARRAY(
        SELECT o.seq FROM messages o WHERE o.room_id = room ORDER BY o.seq LIMIT max_rows));
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched = max_rows THEN
        RETURN;
    END IF;
    DELETE FROM bulk_changes WHERE room_id = room;
    DELETE FROM invites WHERE room_id = room;
    DELETE FROM rooms WHERE id = room;
END
$$;

-- Removes messages that are past retention, and notes up to where `changes` is incomplete now; answers how many.
CREATE FUNCTION prune(retain_from bigint, max_rows bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    room_ids bigint[];
    places bigint[];
    removed bigint;
BEGIN
    SELECT array_agg(p.room_id), array_agg(p.seq) INTO room_ids, places FROM (
        SELECT m.room_id, m.seq FROM messages m WHERE m.sent_at < retain_from ORDER BY m.sent_at LIMIT max_rows
    ) p;
    IF room_ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM lock_rooms(room_ids);
    WITH gone AS (
        DELETE FROM messages m USING unnest(room_ids, places) AS p (room_id, seq)
        WHERE m.room_id = p.room_id AND m.seq = p.seq RETURNING m.room_id, m.changed_seq
    ),
    last_changes AS (
        UPDATE rooms r SET pruned_seq = greatest(r.pruned_seq, g.changed_seq)
        FROM (SELECT room_id, max(changed_seq) AS changed_seq FROM gone GROUP BY room_id) g WHERE r.id = g.room_id
    )
    SELECT count(*) INTO removed FROM gone;
    RETURN removed;
END
$$;
