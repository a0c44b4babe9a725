-- Users, logins and sessions. Who changes a user's sessions, name or existence holds the lock of its row first, so that
-- limits hold and a session made beside a deletion doesn't outlive it.

-- A user who isn't deleted, its row locked.
CREATE FUNCTION lock_user(the_user bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM users WHERE id = the_user AND deleted_at IS NULL FOR NO KEY UPDATE;
    RETURN FOUND;
END
$$;

CREATE FUNCTION identify_user(the_identity bytea, name text, at bigint)
RETURNS TABLE (id bigint, deleted_at bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO users (username, created_at, identity) VALUES (name, at, the_identity) ON CONFLICT (identity) DO NOTHING;
    RETURN QUERY SELECT u.id, u.deleted_at FROM users u WHERE u.identity = the_identity;
END
$$;

-- Answers the id, or else what is taken: 'email' or 'username'.
CREATE FUNCTION create_account(
    the_email text, the_email_key text, name text, the_username_key text, the_password_hash text, at bigint
) RETURNS TABLE (id bigint, taken text) LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM accounts WHERE email_key = the_email_key OR username_key = the_username_key) THEN
        id := nextval('user_ids');
        INSERT INTO accounts (user_id, email, email_key, username_key, password_hash)
        VALUES (id, the_email, the_email_key, the_username_key, the_password_hash) ON CONFLICT DO NOTHING;
        IF FOUND THEN
            INSERT INTO users (id, username, created_at) VALUES (create_account.id, name, at);
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    id := NULL;
    taken := CASE WHEN EXISTS (SELECT 1 FROM accounts WHERE email_key = the_email_key) THEN 'email' ELSE 'username' END;
    RETURN NEXT;
END
$$;

-- Answers why not, or null: 'notFound' or 'username' (taken).
CREATE FUNCTION rename_user(the_user bigint, name text, the_username_key text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF NOT lock_user(the_user) THEN
        RETURN 'notFound';
    ELSIF EXISTS (SELECT 1 FROM users WHERE id = the_user AND username = name) THEN
        RETURN NULL;
    END IF;
    BEGIN
        UPDATE accounts SET username_key = the_username_key WHERE user_id = the_user;
    EXCEPTION WHEN unique_violation THEN
        RETURN 'username'; -- an UPDATE has no ON CONFLICT
    END;
    UPDATE users SET username = name WHERE id = the_user;
    INSERT INTO jobs (user_id, room_id, kind)
    SELECT m.user_id, m.room_id, 'renamed' FROM members m WHERE m.user_id = the_user AND m.left_seq IS NULL ORDER BY m.room_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

-- Answers the sessions that ended; null if there is no such user.
CREATE FUNCTION delete_user(the_user bigint, tombstone text, with_messages boolean, at bigint)
RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    IF NOT lock_user(the_user) THEN
        RETURN NULL;
    END IF;
    UPDATE users SET username = tombstone, deleted_at = at WHERE id = the_user;
    DELETE FROM accounts WHERE user_id = the_user;
    DELETE FROM known_addresses WHERE user_id = the_user;
    DELETE FROM jobs WHERE user_id = the_user;
    INSERT INTO jobs (user_id, room_id, kind)
    SELECT m.user_id, m.room_id, CASE WHEN with_messages THEN 'erased' ELSE 'deleted' END
    FROM members m JOIN rooms r ON r.id = m.room_id
    WHERE m.user_id = the_user AND r.deleted_seq IS NULL AND (with_messages OR m.left_seq IS NULL) ORDER BY m.room_id;
    RETURN end_sessions(the_user, NULL, at);
END
$$;

-- ---------------------------------------------------------------- sessions

CREATE FUNCTION note_ended(ids bigint[], at bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sessions SET ended_at = at WHERE id = ANY (ids) AND ended_at IS NULL;
    INSERT INTO ended_sessions (session, ended_at) SELECT s.id::text, at FROM unnest(ids) AS s (id) ON CONFLICT DO NOTHING;
END
$$;

-- Ends all sessions of a locked user but one; answers those.
CREATE FUNCTION end_sessions(the_user bigint, kept bigint, at bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := ARRAY(
        SELECT s.id FROM sessions s
        WHERE s.user_id = the_user AND s.ended_at IS NULL AND s.expires_at > at AND s.id IS DISTINCT FROM kept
        ORDER BY s.id FOR UPDATE);
BEGIN
    PERFORM note_ended(ids, at);
    RETURN ids;
END
$$;

-- Answers the sessions that ended; null if the password was another.
CREATE FUNCTION set_password(the_user bigint, old_hash text, new_hash text, kept bigint, at bigint)
RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    IF NOT lock_user(the_user) THEN
        RETURN NULL;
    END IF;
    UPDATE accounts SET password_hash = new_hash WHERE user_id = the_user AND password_hash = old_hash;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN end_sessions(the_user, kept, at);
END
$$;

-- Answers the session, and those that ended as too many; no row if there is no such user.
CREATE FUNCTION create_session(
    the_user bigint, the_device text, hash bytea, at bigint, expires bigint, address bytea, others bigint
) RETURNS TABLE (id bigint, ended bigint[]) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    too_many bigint[];
    made bigint;
BEGIN
    IF NOT lock_user(the_user) THEN
        RETURN;
    END IF;
    too_many := ARRAY(
        SELECT s.id FROM sessions s
        WHERE s.user_id = the_user AND s.ended_at IS NULL AND s.expires_at > at
        ORDER BY s.last_used_at DESC, s.id DESC OFFSET others);
    PERFORM note_ended(too_many, at);
    INSERT INTO sessions (user_id, device, created_at, last_used_at, expires_at, refresh_hash)
    VALUES (the_user, the_device, at, at, expires, hash) RETURNING id INTO made;
    IF address IS NOT NULL THEN
        INSERT INTO known_addresses (user_id, address_hash, seen_at) VALUES (the_user, address, at)
        ON CONFLICT (user_id, address_hash) DO UPDATE SET seen_at = excluded.seen_at;
    END IF;
    RETURN QUERY SELECT made, too_many;
END
$$;

CREATE FUNCTION end_session(the_user bigint, the_session bigint, at bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM sessions WHERE id = the_session AND user_id = the_user AND ended_at IS NULL FOR UPDATE;
    IF FOUND THEN
        PERFORM note_ended(ARRAY[the_session], at);
        RETURN true;
    END IF;
    RETURN false;
END
$$;

-- Uses a refresh token. `what` is 'fresh', 'again', 'reused', or there is no row for an unknown one.
CREATE FUNCTION rotate_session(
    presented bytea, successor bytea, sealed bytea, at bigint, expires bigint, grace_from bigint
) RETURNS TABLE (
    what text, session bigint, user_id bigint, username text, created_at bigint, email text, sealed_before bytea, expires_at bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    s sessions;
    u users;
    was_last boolean;
BEGIN
    SELECT * INTO s FROM sessions WHERE refresh_hash = presented AND ended_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        -- Perhaps another use of it came first: then it is among the spent ones by now.
        SELECT t.is_last, t.session_id INTO was_last, session
        FROM spent_tokens t JOIN sessions o ON o.id = t.session_id
        WHERE t.token_hash = presented AND o.ended_at IS NULL;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        SELECT * INTO s FROM sessions WHERE id = session AND ended_at IS NULL FOR UPDATE;
        -- Once more, now that nobody else can use the session's tokens.
        was_last := (SELECT t.is_last FROM spent_tokens t WHERE t.session_id = session AND t.token_hash = presented);
    END IF;
    SELECT * INTO u FROM users WHERE id = s.user_id AND deleted_at IS NULL;
    IF s.id IS NULL OR u.id IS NULL OR s.expires_at <= at THEN
        RETURN;
    END IF;
    what := 'fresh';
    session := s.id;
    user_id := u.id;
    username := u.username;
    created_at := u.created_at;
    email := (SELECT a.email FROM accounts a WHERE a.user_id = u.id);
    IF was_last IS NULL THEN
        UPDATE spent_tokens SET is_last = false WHERE session_id = s.id AND is_last;
        INSERT INTO spent_tokens (session_id, token_hash, is_last) VALUES (s.id, presented, true);
        UPDATE sessions SET refresh_hash = successor, sealed_successor = sealed, replaced_at = at, last_used_at = at,
            expires_at = expires
        WHERE id = s.id;
    ELSIF was_last AND s.replaced_at >= grace_from AND s.sealed_successor IS NOT NULL THEN
        what := 'again';
        sealed_before := s.sealed_successor;
        expires_at := s.expires_at;
    ELSE
        what := 'reused';
        PERFORM note_ended(ARRAY[s.id], at);
    END IF;
    RETURN NEXT;
END
$$;

-- ---------------------------------------------------------------- what nodes share

CREATE FUNCTION share_secret(the_name text, fresh bytea) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO secrets (name, value) VALUES (the_name, fresh) ON CONFLICT DO NOTHING;
    RETURN (SELECT value FROM secrets WHERE name = the_name);
END
$$;

-- Gives a node the outbox rows of those whose lease ran out; answers how many.
CREATE FUNCTION take_over(to_node bigint, at bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    taken bigint;
BEGIN
    WITH RECURSIVE owners (node) AS ( -- one by one, from the index: a long outbox has few
        SELECT min(o.node) FROM outbox o
        UNION ALL
        SELECT (SELECT min(o.node) FROM outbox o WHERE o.node > owners.node) FROM owners WHERE owners.node IS NOT NULL
    ),
    gone AS (
        SELECT node FROM owners
        WHERE node <> to_node AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.node = owners.node AND l.valid_until >= at)
    ),
    left_behind AS (
        SELECT o.room_id, o.seq FROM outbox o WHERE o.node IN (SELECT node FROM gone)
        ORDER BY o.room_id, o.seq FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox o SET node = to_node FROM left_behind l WHERE o.room_id = l.room_id AND o.seq = l.seq;
    GET DIAGNOSTICS taken = ROW_COUNT;
    -- A node that is gone for good has no rows any more, so nothing asks for its lease again; one that was only paused
    -- makes it anew.
    DELETE FROM leases WHERE node <> to_node AND valid_until < at;
    RETURN taken;
END
$$;
