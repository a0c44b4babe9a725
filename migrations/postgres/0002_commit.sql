-- A batch of changes, in one call that is one transaction.
--
-- Rules are conditions and answers, never exceptions, which would undo the rest of the batch. The functions of single
-- changes count on the locks that `commit_changes` and `commit_sends` take first: the rows of all rooms of the batch in id
-- order, then those of users whose memberships it makes or ends, in id order. So two batches never wait for each other in a
-- circle, whichever nodes they come from.
--
-- An answer is an object: {"refusal": …}, or {"events": [Event…], "outcome": …} with the wire's own names.

-- ---------------------------------------------------------------- as the wire has it

CREATE FUNCTION rfc3339(ms bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(timestamp 'epoch' + ms * interval '1 millisecond', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

CREATE FUNCTION message_object(m messages) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'id', m.id, 'roomId', m.room_id, 'seq', m.seq, 'changedSeq', m.changed_seq, 'senderId', m.sender_id,
        'content', m.content, 'sentAt', rfc3339(m.sent_at), 'editedAt', rfc3339(m.edited_at),
        'deletedAt', rfc3339(m.deleted_at), 'clientMessageId', m.client_message_id))
$$;

CREATE FUNCTION role_name(is_admin boolean) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN is_admin THEN 'admin' WHEN NOT is_admin THEN 'member' END
$$;

-- The room; with a role as its caller sees it, without as events have it.
CREATE FUNCTION room_object(r rooms, is_admin boolean) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'id', r.id, 'name', r.name, 'createdAt', rfc3339(r.created_at), 'memberCount', r.member_count, 'seq', r.seq,
        'role', role_name(is_admin)))
$$;

-- Someone who is in the room; null for who isn't.
CREATE FUNCTION member_object(the_room bigint, the_user bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('userId', m.user_id, 'username', u.username, 'role', role_name(m.is_admin),
                              'joinedAt', rfc3339(m.joined_at))
    FROM members m JOIN users u ON u.id = m.user_id
    WHERE m.room_id = the_room AND m.user_id = the_user AND m.left_seq IS NULL
$$;

CREATE FUNCTION done(events jsonb, outcome jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('events', events, 'outcome', outcome)
$$;

CREATE FUNCTION refused(refusal text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('refusal', refusal)
$$;

-- ---------------------------------------------------------------- what most changes begin with

-- Whether a user is an admin of a room; null for who isn't in it. Nobody is in a deleted room.
CREATE FUNCTION is_admin_of(the_room bigint, the_user bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT is_admin FROM members WHERE room_id = the_room AND user_id = the_user AND left_seq IS NULL
$$;

-- Why a user may not do what admins do; null for one who may.
CREATE FUNCTION not_admin(the_room bigint, the_user bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    is_admin boolean := is_admin_of(the_room, the_user);
BEGIN
    RETURN CASE WHEN is_admin THEN NULL WHEN NOT is_admin THEN 'forbidden' ELSE 'notFound' END;
END
$$;

-- Takes the room's next place.
CREATE FUNCTION next_seq(the_room bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    UPDATE rooms SET seq = seq + 1 WHERE id = the_room RETURNING seq INTO place;
    RETURN place;
END
$$;

-- ---------------------------------------------------------------- messages

-- A run of sends, whatever its length one statement. The answer's columns, one row a send:
--   id, seq          of the message made
--   repeats          the send of this run, by its number, that made the message under the same client id
--   earlier, same    what an earlier batch made under the same client id, and whether its first content was this one
-- and all null if the sender isn't in the room.
CREATE FUNCTION send_messages(
    room_ids bigint[], sender_ids bigint[], client_ids text[], contents text[], at bigint, for_node bigint
) RETURNS TABLE (id bigint, seq bigint, repeats bigint, earlier json, same boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH sends AS MATERIALIZED (
        SELECT s.n, s.room_id, s.sender_id, s.client_id, s.content, r.seq AS head, m.id AS earlier_id,
               CASE WHEN m.id IS NOT NULL THEN json_build_array(
                   m.id, m.seq, m.changed_seq, m.sender_id, m.sent_at, m.edited_at, coalesce(m.deleted_at, e.erased_at),
                   m.client_message_id, CASE WHEN e.seq IS NULL THEN m.content ELSE '' END) END AS earlier,
               CASE WHEN m.first_hash IS NULL THEN m.content = s.content
                    ELSE m.first_hash = sha256(convert_to(s.content, 'UTF8')) END AS same,
               CASE WHEN s.client_id IS NULL THEN s.n
                    ELSE min(s.n) OVER (PARTITION BY s.room_id, s.sender_id, s.client_id) END AS first
        FROM unnest(room_ids, sender_ids, client_ids, contents) WITH ORDINALITY
                 AS s (room_id, sender_id, client_id, content, n)
        LEFT JOIN members b ON b.room_id = s.room_id AND b.user_id = s.sender_id AND b.left_seq IS NULL
        LEFT JOIN rooms r ON r.id = b.room_id
        LEFT JOIN messages m ON m.room_id = b.room_id AND m.sender_id = b.user_id AND m.client_message_id = s.client_id
        LEFT JOIN erasures e ON e.room_id = m.room_id AND e.sender_id = m.sender_id AND m.seq < e.seq
    ),
    fresh AS MATERIALIZED (
        SELECT f.n, f.room_id, f.sender_id, f.client_id, f.content, f.seq, nextval('message_ids') AS id
        FROM (
            SELECT s.n, s.room_id, s.sender_id, s.client_id, s.content,
                   s.head + row_number() OVER (PARTITION BY s.room_id ORDER BY s.n) AS seq
            FROM sends s
            WHERE s.head IS NOT NULL AND s.earlier_id IS NULL AND s.n = s.first
            ORDER BY s.n
        ) f
    ),
    stored AS (
        INSERT INTO messages (room_id, seq, id, sender_id, changed_seq, sent_at, client_message_id, content)
        SELECT f.room_id, f.seq, f.id, f.sender_id, f.seq, at, f.client_id, f.content FROM fresh f
    ),
    moved AS (
        UPDATE rooms r SET seq = h.head
        FROM (SELECT f.room_id, max(f.seq) AS head FROM fresh f GROUP BY f.room_id) h
        WHERE r.id = h.room_id
    ),
    announced AS (
        INSERT INTO outbox (room_id, seq, node, event)
        SELECT f.room_id, f.seq, for_node, json_strip_nulls(json_build_object(
            'type', 'messageCreated', 'id', f.id, 'roomId', f.room_id, 'seq', f.seq, 'changedSeq', f.seq,
            'senderId', f.sender_id, 'content', f.content, 'sentAt', rfc3339(at), 'clientMessageId', f.client_id))::text
        FROM fresh f WHERE for_node IS NOT NULL
    )
    SELECT f.id, f.seq, CASE WHEN s.head IS NOT NULL AND s.first < s.n THEN s.first - 1 END, s.earlier, s.same
    FROM sends s LEFT JOIN fresh f ON f.n = s.n
    ORDER BY s.n;
END
$$;

CREATE FUNCTION edit_message(the_room bigint, message bigint, caller bigint, new_content text, at bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    m messages;
BEGIN
    IF is_admin_of(the_room, caller) IS NULL THEN
        RETURN refused('notFound');
    END IF;
    m := undeleted(the_room, message);
    IF m.id IS NULL THEN
        RETURN refused('notFound');
    ELSIF m.sender_id <> caller THEN
        RETURN refused('forbidden');
    ELSIF m.content = new_content THEN
        RETURN done('[]', jsonb_build_object('message', message_object(m)));
    END IF;
    UPDATE messages SET changed_seq = next_seq(the_room), edited_at = at, content = new_content, first_hash = kept_hash(m)
    WHERE room_id = the_room AND seq = m.seq RETURNING * INTO m;
    RETURN done(jsonb_build_array('{"type":"messageEdited"}' || message_object(m)), '"event"');
END
$$;

CREATE FUNCTION delete_message(the_room bigint, message bigint, caller bigint, at bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    is_admin boolean := is_admin_of(the_room, caller);
    m messages;
BEGIN
    IF is_admin IS NULL THEN
        RETURN refused('notFound');
    END IF;
    m := undeleted(the_room, message);
    IF m.id IS NULL THEN
        RETURN refused('notFound');
    ELSIF m.sender_id <> caller AND NOT is_admin THEN
        RETURN refused('forbidden');
    END IF;
    UPDATE messages SET changed_seq = next_seq(the_room), deleted_at = at, content = '', first_hash = kept_hash(m)
    WHERE room_id = the_room AND seq = m.seq RETURNING * INTO m;
    RETURN done(jsonb_build_array('{"type":"messageDeleted"}' || message_object(m)), '"event"');
END
$$;

-- A message that isn't deleted, nor fell to a bulk deletion; else a row of nulls.
CREATE FUNCTION undeleted(the_room bigint, message bigint) RETURNS messages LANGUAGE plpgsql AS $$
DECLARE
    found_message messages;
BEGIN
    SELECT m.* INTO found_message FROM messages m
    WHERE m.room_id = the_room AND m.id = message AND m.deleted_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM erasures e WHERE e.room_id = m.room_id AND e.sender_id = m.sender_id AND m.seq < e.seq);
    RETURN found_message;
END
$$;

-- What a repeated send is compared with once the content is another: its first. Without a client id none will ask.
CREATE FUNCTION kept_hash(m messages) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN m.client_message_id IS NOT NULL THEN
        coalesce(m.first_hash, sha256(convert_to(m.content, 'UTF8'))) END
$$;

-- ---------------------------------------------------------------- rooms

CREATE FUNCTION create_room(caller bigint, new_name text, at bigint, rooms_per_user bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    r rooms;
    event jsonb;
    refusal text := no_place(caller, rooms_per_user);
BEGIN
    IF refusal IS NOT NULL THEN
        RETURN refused(refusal);
    END IF;
    INSERT INTO rooms (name, created_at, seq, member_count, admin_count) VALUES (new_name, at, 0, 0, 0) RETURNING * INTO r;
    event := join_room(r.id, caller, true, at);
    SELECT * INTO r FROM rooms WHERE id = r.id;
    RETURN done(jsonb_build_array(event), jsonb_build_object('room', room_object(r, true)));
END
$$;

CREATE FUNCTION rename_room(the_room bigint, caller bigint, new_name text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    r rooms;
    events jsonb := '[]';
    refusal text := not_admin(the_room, caller);
BEGIN
    IF refusal IS NOT NULL THEN
        RETURN refused(refusal);
    END IF;
    UPDATE rooms SET name = new_name, seq = seq + 1, renamed_seq = seq + 1
    WHERE id = the_room AND name <> new_name RETURNING * INTO r;
    IF FOUND THEN
        events := jsonb_build_array(jsonb_build_object(
            'type', 'roomChanged', 'roomId', r.id, 'seq', r.seq, 'room', room_object(r, NULL)));
    ELSE
        SELECT * INTO r FROM rooms WHERE id = the_room;
    END IF;
    RETURN done(events, jsonb_build_object('room', room_object(r, true)));
END
$$;

CREATE FUNCTION delete_room(the_room bigint, caller bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    refusal text := not_admin(the_room, caller);
BEGIN
    IF refusal IS NOT NULL THEN
        RETURN refused(refusal);
    END IF;
    RETURN done(jsonb_build_array(close_room(the_room)), '"done"');
END
$$;

-- Lets nobody be in the room any more.
CREATE FUNCTION close_room(the_room bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    UPDATE rooms SET seq = seq + 1, deleted_seq = seq + 1, member_count = 0, admin_count = 0
    WHERE id = the_room RETURNING seq INTO place;
    UPDATE members SET left_seq = place WHERE room_id = the_room AND left_seq IS NULL;
    RETURN jsonb_build_object('type', 'roomDeleted', 'roomId', the_room, 'seq', place);
END
$$;

-- ---------------------------------------------------------------- members

-- Why a user can't be in another room; null for one who can.
CREATE FUNCTION no_place(the_user bigint, rooms_per_user bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM users WHERE id = the_user AND deleted_at IS NULL) THEN
        RETURN 'notFound';
    ELSIF (SELECT count(*) FROM members WHERE user_id = the_user AND left_seq IS NULL) >= rooms_per_user THEN
        RETURN 'roomsPerUser';
    END IF;
    RETURN NULL;
END
$$;

-- Lets someone in who isn't.
CREATE FUNCTION join_room(the_room bigint, the_user bigint, as_admin boolean, at bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    UPDATE rooms SET seq = seq + 1, member_count = member_count + 1, admin_count = admin_count + as_admin::int
    WHERE id = the_room RETURNING seq INTO place;
    INSERT INTO members (room_id, user_id, is_admin, joined_at, first_joined_seq, joined_seq, changed_seq)
    VALUES (the_room, the_user, as_admin, at, place, place, place)
    ON CONFLICT (room_id, user_id) DO UPDATE SET is_admin = excluded.is_admin, joined_at = excluded.joined_at,
        joined_seq = excluded.joined_seq, changed_seq = excluded.changed_seq, left_seq = NULL, left_reason = NULL;
    RETURN jsonb_build_object(
        'type', 'memberJoined', 'roomId', the_room, 'seq', place, 'member', member_object(the_room, the_user));
END
$$;

CREATE FUNCTION set_role(the_room bigint, caller bigint, the_user bigint, to_admin boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    was_admin boolean;
    events jsonb := '[]';
    refusal text := not_admin(the_room, caller);
BEGIN
    IF refusal IS NOT NULL THEN
        RETURN refused(refusal);
    END IF;
    was_admin := is_admin_of(the_room, the_user);
    IF was_admin IS NULL THEN
        RETURN refused('notFound');
    ELSIF was_admin <> to_admin THEN
        IF was_admin AND the_user <> caller THEN
            RETURN refused('forbidden');
        ELSIF was_admin AND (SELECT admin_count FROM rooms WHERE id = the_room) = 1 THEN
            RETURN refused('lastAdmin');
        END IF;
        UPDATE rooms SET admin_count = admin_count + CASE WHEN to_admin THEN 1 ELSE -1 END WHERE id = the_room;
        UPDATE members SET is_admin = to_admin WHERE room_id = the_room AND user_id = the_user;
        events := jsonb_build_array(member_changed(the_room, the_user));
    END IF;
    RETURN done(events, jsonb_build_object('member', member_object(the_room, the_user)));
END
$$;

-- Gives a member its next place.
CREATE FUNCTION member_changed(the_room bigint, the_user bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    place bigint := next_seq(the_room);
BEGIN
    UPDATE members SET changed_seq = place WHERE room_id = the_room AND user_id = the_user;
    RETURN jsonb_build_object(
        'type', 'memberChanged', 'roomId', the_room, 'seq', place, 'member', member_object(the_room, the_user));
END
$$;

CREATE FUNCTION remove_member(the_room bigint, caller bigint, the_user bigint, with_messages boolean, at bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    refusal text := not_admin(the_room, caller);
BEGIN
    IF caller = the_user AND refusal IS DISTINCT FROM 'notFound' THEN
        RETURN done(depart(the_room, the_user, 'left', with_messages, at), '"done"');
    ELSIF refusal IS NOT NULL THEN
        RETURN refused(refusal);
    END IF;
    RETURN CASE is_admin_of(the_room, the_user)
        WHEN true THEN refused('forbidden')
        WHEN false THEN done(depart(the_room, the_user, 'removed', with_messages, at), '"done"')
        ELSE refused('notFound') END;
END
$$;

-- Takes someone out of a room, with all that follows from it; answers the events.
CREATE FUNCTION depart(the_room bigint, the_user bigint, why text, with_messages boolean, at bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    r rooms;
    events jsonb := '[]';
BEGIN
    IF with_messages THEN
        events := erase(the_room, the_user, at);
    END IF;
    UPDATE rooms SET seq = seq + 1, member_count = member_count - 1,
        admin_count = admin_count - is_admin_of(the_room, the_user)::int
    WHERE id = the_room RETURNING * INTO r;
    UPDATE members SET left_seq = r.seq, changed_seq = r.seq, left_reason = why,
        barred_invite_id = CASE WHEN why = 'removed'
            THEN coalesce((SELECT max(i.id) FROM invites i WHERE i.room_id = the_room), 0) ELSE barred_invite_id END
    WHERE room_id = the_room AND user_id = the_user;
    events := events || jsonb_build_object(
        'type', 'memberLeft', 'roomId', the_room, 'seq', r.seq, 'userId', the_user, 'reason', why);
    IF r.member_count = 0 THEN
        events := events || close_room(the_room);
    ELSIF r.admin_count = 0 THEN
        UPDATE rooms SET seq = seq + 1, admin_count = member_count WHERE id = the_room RETURNING * INTO r;
        UPDATE members SET is_admin = true WHERE room_id = the_room AND left_seq IS NULL;
        INSERT INTO bulk_changes (room_id, seq) VALUES (the_room, r.seq);
        events := events || jsonb_build_object('type', 'membersChanged', 'roomId', the_room, 'seq', r.seq, 'role', 'admin');
    END IF;
    RETURN events;
END
$$;

-- Deletes all that someone wrote, if there is anything; answers the events. Readers obey at once; the sweep scrubs the rows.
CREATE FUNCTION erase(the_room bigint, the_user bigint, at bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM messages m
        WHERE m.room_id = the_room AND m.sender_id = the_user AND m.deleted_at IS NULL AND m.seq >= coalesce(
            (SELECT e.seq FROM erasures e WHERE e.room_id = the_room AND e.sender_id = the_user), 0)
    ) THEN
        RETURN '[]';
    END IF;
    place := next_seq(the_room);
    INSERT INTO bulk_changes (room_id, seq, sender_id) VALUES (the_room, place, the_user);
    INSERT INTO erasures (room_id, sender_id, seq, erased_at, scrubbed_to) VALUES (the_room, the_user, place, at, 0)
    ON CONFLICT (room_id, sender_id) DO UPDATE SET seq = excluded.seq, erased_at = excluded.erased_at;
    RETURN jsonb_build_array(jsonb_build_object(
        'type', 'messagesDeleted', 'roomId', the_room, 'seq', place, 'senderId', the_user));
END
$$;

CREATE FUNCTION refresh_member(the_room bigint, the_user bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM jobs WHERE user_id = the_user AND room_id = the_room AND kind = 'renamed';
    IF FOUND AND is_admin_of(the_room, the_user) IS NOT NULL THEN
        RETURN done(jsonb_build_array(member_changed(the_room, the_user)), '"done"');
    END IF;
    RETURN done('[]', '"done"');
END
$$;

CREATE FUNCTION remove_account(the_room bigint, the_user bigint, with_messages boolean, at bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    events jsonb := '[]';
BEGIN
    DELETE FROM jobs
    WHERE user_id = the_user AND room_id = the_room AND kind = CASE WHEN with_messages THEN 'erased' ELSE 'deleted' END;
    IF FOUND AND EXISTS (SELECT 1 FROM rooms WHERE id = the_room AND deleted_seq IS NULL) THEN
        IF is_admin_of(the_room, the_user) IS NOT NULL THEN
            events := depart(the_room, the_user, 'accountDeleted', with_messages, at);
        ELSIF with_messages THEN
            events := erase(the_room, the_user, at);
        END IF;
    END IF;
    RETURN done(events, '"done"');
END
$$;

-- ---------------------------------------------------------------- invites

-- Whether an invite admits someone.
CREATE FUNCTION is_open(i invites, at bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT i.revoked_at IS NULL AND i.expires_at > at AND (i.max_uses IS NULL OR i.uses < i.max_uses)
$$;

CREATE FUNCTION create_invite(
    the_room bigint, caller bigint, hash bytea, expires bigint, uses_allowed bigint, at bigint, invites_per_room bigint
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    invite bigint;
    refusal text := not_admin(the_room, caller);
BEGIN
    IF refusal IS NOT NULL THEN
        RETURN refused(refusal);
    ELSIF (SELECT count(*) FROM invites i WHERE i.room_id = the_room AND is_open(i, at)) >= invites_per_room THEN
        RETURN refused('invitesPerRoom');
    END IF;
    INSERT INTO invites (room_id, token_hash, created_at, expires_at, max_uses)
    VALUES (the_room, hash, at, expires, uses_allowed) RETURNING id INTO invite;
    RETURN done('[]', jsonb_build_object('invite', jsonb_strip_nulls(jsonb_build_object(
        'id', invite, 'roomId', the_room, 'createdAt', rfc3339(at), 'expiresAt', rfc3339(expires),
        'maxUses', uses_allowed, 'uses', 0))));
END
$$;

CREATE FUNCTION revoke_invite(the_room bigint, caller bigint, invite bigint, at bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    refusal text := not_admin(the_room, caller);
BEGIN
    IF refusal IS NOT NULL THEN
        RETURN refused(refusal);
    END IF;
    UPDATE invites SET revoked_at = at WHERE id = invite AND room_id = the_room AND revoked_at IS NULL;
    RETURN CASE WHEN FOUND THEN done('[]', '"done"') ELSE refused('notFound') END;
END
$$;

CREATE FUNCTION accept_invite(
    the_room bigint, the_user bigint, hash bytea, at bigint, rooms_per_user bigint, members_per_room bigint
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    i invites;
    r rooms;
    refusal text;
    event jsonb;
    is_admin boolean := is_admin_of(the_room, the_user);
BEGIN
    SELECT * INTO r FROM rooms WHERE id = the_room AND deleted_seq IS NULL;
    SELECT * INTO i FROM invites WHERE token_hash = hash AND room_id = the_room;
    refusal := no_place(the_user, rooms_per_user);
    IF r.id IS NULL OR i.id IS NULL OR refusal = 'notFound' THEN
        RETURN refused('notFound');
    ELSIF is_admin IS NOT NULL THEN
        RETURN done('[]', jsonb_build_object('room', room_object(r, is_admin)));
    ELSIF NOT is_open(i, at) OR i.id <= coalesce(
        (SELECT m.barred_invite_id FROM members m WHERE m.room_id = the_room AND m.user_id = the_user), 0)
    THEN
        RETURN refused('inviteGone');
    ELSIF refusal IS NOT NULL THEN
        RETURN refused(refusal);
    ELSIF r.member_count >= members_per_room THEN
        RETURN refused('membersPerRoom');
    END IF;
    UPDATE invites SET uses = uses + 1 WHERE id = i.id;
    event := join_room(the_room, the_user, false, at);
    SELECT * INTO r FROM rooms WHERE id = the_room;
    RETURN done(jsonb_build_array(event), jsonb_build_object('room', room_object(r, false)));
END
$$;

-- ---------------------------------------------------------------- batches

CREATE FUNCTION lock_rooms(room_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM rooms WHERE id = ANY (room_ids) ORDER BY id FOR NO KEY UPDATE;
END
$$;

-- A batch of nothing but sends.
CREATE FUNCTION commit_sends(
    room_ids bigint[], sender_ids bigint[], client_ids text[], contents text[], at bigint, for_node bigint
) RETURNS TABLE (id bigint, seq bigint, repeats bigint, earlier json, same boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_rooms(room_ids);
    RETURN QUERY SELECT * FROM send_messages(room_ids, sender_ids, client_ids, contents, at, for_node);
END
$$;

-- Any batch: `steps` is an array of changes, and of runs of sends ({"kind": "send"} with four arrays), whose answer is the
-- array of their rows. `rooms_named` are all rooms in them, `users_named` all users whose memberships they make or end.
CREATE FUNCTION commit_changes(
    steps jsonb, rooms_named bigint[], users_named bigint[], at bigint,
    rooms_per_user bigint, members_per_room bigint, invites_per_room bigint, for_node bigint
) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
DECLARE
    step jsonb;
    result jsonb;
    room bigint;
    caller bigint;
    the_user bigint;
BEGIN
    PERFORM lock_rooms(rooms_named);
    PERFORM 1 FROM users WHERE id = ANY (users_named) ORDER BY id FOR NO KEY UPDATE;
    FOR step IN SELECT s.step FROM jsonb_array_elements(steps) WITH ORDINALITY AS s (step, n) ORDER BY s.n LOOP
        room := step ->> 'room';
        caller := step ->> 'by';
        the_user := step ->> 'user';
        CASE step ->> 'kind'
            WHEN 'send' THEN
                SELECT jsonb_agg(jsonb_build_array(m.id, m.seq, m.repeats, m.earlier, m.same)) INTO result
                FROM send_messages(
                    ARRAY(SELECT e::bigint FROM jsonb_array_elements(step -> 'rooms') e),
                    ARRAY(SELECT e::bigint FROM jsonb_array_elements(step -> 'senders') e),
                    ARRAY(SELECT e FROM jsonb_array_elements_text(step -> 'clientIds') e),
                    ARRAY(SELECT e FROM jsonb_array_elements_text(step -> 'contents') e),
                    at, for_node) m;
            WHEN 'editMessage' THEN
                result := edit_message(room, (step ->> 'message')::bigint, caller, step ->> 'content', at);
            WHEN 'deleteMessage' THEN
                result := delete_message(room, (step ->> 'message')::bigint, caller, at);
            WHEN 'createRoom' THEN
                result := create_room(caller, step ->> 'name', at, rooms_per_user);
            WHEN 'renameRoom' THEN
                result := rename_room(room, caller, step ->> 'name');
            WHEN 'deleteRoom' THEN
                result := delete_room(room, caller);
            WHEN 'setRole' THEN
                result := set_role(room, caller, the_user, (step ->> 'admin')::boolean);
            WHEN 'removeMember' THEN
                result := remove_member(room, caller, the_user, (step ->> 'withMessages')::boolean, at);
            WHEN 'createInvite' THEN
                result := create_invite(room, caller, decode(step ->> 'token', 'hex'), (step ->> 'expiresAt')::bigint,
                    (step ->> 'maxUses')::bigint, at, invites_per_room);
            WHEN 'revokeInvite' THEN
                result := revoke_invite(room, caller, (step ->> 'invite')::bigint, at);
            WHEN 'acceptInvite' THEN
                result := accept_invite(
                    room, the_user, decode(step ->> 'token', 'hex'), at, rooms_per_user, members_per_room);
            WHEN 'refreshMember' THEN
                result := refresh_member(room, the_user);
            WHEN 'removeAccount' THEN
                result := remove_account(room, the_user, (step ->> 'withMessages')::boolean, at);
        END CASE;
        IF for_node IS NOT NULL AND jsonb_typeof(result) = 'object' THEN
            INSERT INTO outbox (room_id, seq, node, event)
            SELECT (e ->> 'roomId')::bigint, coalesce(e ->> 'changedSeq', e ->> 'seq')::bigint, for_node, e::text
            FROM jsonb_array_elements(result -> 'events') e;
        END IF;
        answer := result::text;
        RETURN NEXT;
    END LOOP;
END
$$;
