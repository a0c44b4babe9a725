-- Reads: each one call that is one snapshot (a STABLE function sees what its caller's statement sees). Lists are arrays of
-- arrays, which cost less than rows, and one more item than asked for tells that there is more.

CREATE FUNCTION read_memberships(reader bigint) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(json_agg(json_build_array(r.id, r.seq) ORDER BY r.id), '[]')
        FROM members m JOIN rooms r ON r.id = m.room_id
        WHERE m.user_id = reader AND m.left_seq IS NULL);
END
$$;

CREATE FUNCTION read_heads(room_ids bigint[]) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT coalesce(json_agg(json_build_array(r.id, r.seq)), '[]') FROM rooms r WHERE r.id = ANY (room_ids));
END
$$;

-- Where each of these users joined the rooms that it is in.
CREATE FUNCTION read_joined(user_ids bigint[]) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(json_agg(json_build_array(m.user_id, m.room_id, m.joined_seq)), '[]')
        FROM members m WHERE m.user_id = ANY (user_ids) AND m.left_seq IS NULL);
END
$$;

-- A user's rooms beyond one, or only the one.
CREATE FUNCTION read_rooms(reader bigint, after bigint, only_room bigint, up_to bigint) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(json_agg(json_build_array(p.id, p.name, p.created_at, p.member_count, p.seq, p.is_admin)), '[]')
        FROM (
            SELECT r.id, r.name, r.created_at, r.member_count, r.seq, m.is_admin
            FROM members m JOIN rooms r ON r.id = m.room_id
            WHERE m.user_id = reader AND m.left_seq IS NULL AND m.room_id > after AND (only_room IS NULL OR m.room_id = only_room)
            ORDER BY m.room_id LIMIT up_to + 1
        ) p);
END
$$;

-- Null if the reader isn't in the room.
CREATE FUNCTION read_members(room bigint, reader bigint, after bigint, up_to bigint) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF is_admin_of(room, reader) IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT coalesce(json_agg(json_build_array(p.user_id, p.username, p.is_admin, p.joined_at)), '[]')
        FROM (
            SELECT m.user_id, u.username, m.is_admin, m.joined_at
            FROM members m JOIN users u ON u.id = m.user_id
            WHERE m.room_id = room AND m.user_id > after AND m.left_seq IS NULL
            ORDER BY m.user_id LIMIT up_to + 1
        ) p);
END
$$;

-- The reader's role, null if it isn't in the room, and for an admin the invites that still admit someone.
CREATE FUNCTION read_invites(room bigint, reader bigint, at bigint, after bigint, up_to bigint)
RETURNS TABLE (is_admin boolean, invites json) LANGUAGE plpgsql STABLE AS $$
BEGIN
    is_admin := is_admin_of(room, reader);
    IF is_admin THEN
        invites := (
            SELECT coalesce(json_agg(json_build_array(p.id, p.created_at, p.expires_at, p.max_uses, p.uses)), '[]')
            FROM (
                SELECT i.id, i.created_at, i.expires_at, i.max_uses, i.uses FROM invites i
                WHERE i.room_id = room AND i.id > after AND is_open(i, at)
                ORDER BY i.id LIMIT up_to + 1
            ) p);
    END IF;
    RETURN NEXT;
END
$$;

-- A page of messages that aren't deleted: the 'newest', those 'before' or 'after' the message `mark`, or 'afterSeq' the
-- place `mark`. Null if the reader isn't in the room, or the message isn't there. Pages before something come backwards.
CREATE FUNCTION read_messages(room bigint, reader bigint, which text, mark bigint, up_to bigint)
RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
    place bigint := mark;
BEGIN
    IF is_admin_of(room, reader) IS NULL THEN
        RETURN NULL;
    END IF;
    IF which IN ('before', 'after') THEN
        place := (SELECT m.seq FROM messages m WHERE m.room_id = room AND m.id = mark);
        IF place IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    IF which IN ('newest', 'before') THEN
        RETURN (
            SELECT coalesce(json_agg(json_build_array(p.id, p.seq, p.changed_seq, p.sender_id, p.sent_at, p.edited_at,
                       NULL, p.client_message_id, p.content)), '[]')
            FROM (
                SELECT m.* FROM messages m
                WHERE m.room_id = room AND m.seq < place AND m.deleted_at IS NULL AND NOT EXISTS (
                    SELECT 1 FROM erasures e WHERE e.room_id = room AND e.sender_id = m.sender_id AND m.seq < e.seq)
                ORDER BY m.seq DESC LIMIT up_to + 1
            ) p);
    END IF;
    RETURN (
        SELECT coalesce(json_agg(json_build_array(p.id, p.seq, p.changed_seq, p.sender_id, p.sent_at, p.edited_at,
                   NULL, p.client_message_id, p.content)), '[]')
        FROM (
            SELECT m.* FROM messages m
            WHERE m.room_id = room AND m.seq > place AND m.deleted_at IS NULL AND NOT EXISTS (
                SELECT 1 FROM erasures e WHERE e.room_id = room AND e.sender_id = m.sender_id AND m.seq < e.seq)
            ORDER BY m.seq LIMIT up_to + 1
        ) p);
END
$$;

CREATE FUNCTION read_message(room bigint, reader bigint, message bigint) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF is_admin_of(room, reader) IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT json_build_array(m.id, m.seq, m.changed_seq, m.sender_id, m.sent_at, m.edited_at, NULL,
            m.client_message_id, m.content)
        FROM messages m
        WHERE m.room_id = room AND m.id = message AND m.deleted_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM erasures e WHERE e.room_id = room AND e.sender_id = m.sender_id AND m.seq < e.seq));
END
$$;

-- What changed in a room after a place, each kind of thing by its own index. No row if the reader, null for a node, may not
-- read it.
CREATE FUNCTION read_changes(room bigint, since bigint, reader bigint, up_to bigint)
RETURNS TABLE (
    name text, created_at bigint, member_count bigint, seq bigint, renamed_seq bigint, pruned_seq bigint, deleted_seq bigint,
    sent json, changed json, members json, bulk json
) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    IF reader IS NOT NULL AND is_admin_of(room, reader) IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT r.name, r.created_at, r.member_count, r.seq, r.renamed_seq, r.pruned_seq, r.deleted_seq,
        (
            SELECT coalesce(json_agg(json_build_array(p.id, p.seq, p.changed_seq, p.sender_id, p.sent_at, p.edited_at,
                       p.gone_at, p.client_message_id, p.text)), '[]')
            FROM (
                SELECT m.*, coalesce(m.deleted_at, e.erased_at) AS gone_at,
                       CASE WHEN e.seq IS NULL THEN m.content ELSE '' END AS text
                FROM messages m
                LEFT JOIN erasures e ON e.room_id = room AND e.sender_id = m.sender_id AND m.seq < e.seq
                WHERE m.room_id = room AND m.seq > since AND m.changed_seq = m.seq
                ORDER BY m.seq LIMIT up_to + 1
            ) p
        ),
        (
            SELECT coalesce(json_agg(json_build_array(p.id, p.seq, p.changed_seq, p.sender_id, p.sent_at, p.edited_at,
                       p.gone_at, p.client_message_id, p.text)), '[]')
            FROM (
                SELECT m.*, coalesce(m.deleted_at, e.erased_at) AS gone_at,
                       CASE WHEN e.seq IS NULL THEN m.content ELSE '' END AS text
                FROM messages m
                LEFT JOIN erasures e ON e.room_id = room AND e.sender_id = m.sender_id AND m.seq < e.seq
                WHERE m.room_id = room AND m.changed_seq > since AND m.changed_seq > m.seq
                ORDER BY m.changed_seq LIMIT up_to + 1
            ) p
        ),
        (
            SELECT coalesce(json_agg(json_build_array(p.changed_seq, p.joined_seq, p.left_seq, p.left_reason,
                       json_build_array(p.user_id, p.username, p.is_admin, p.joined_at))), '[]')
            FROM (
                SELECT m.*, u.username FROM members m JOIN users u ON u.id = m.user_id
                WHERE m.room_id = room AND m.changed_seq > since
                ORDER BY m.changed_seq LIMIT up_to + 1
            ) p
        ),
        (
            SELECT coalesce(json_agg(json_build_array(p.seq, p.sender_id)), '[]')
            FROM (
                SELECT b.seq, b.sender_id FROM bulk_changes b
                WHERE b.room_id = room AND b.seq > since
                ORDER BY b.seq LIMIT up_to + 1
            ) p
        )
    FROM rooms r WHERE r.id = room;
END
$$;

-- A profile: of the reader itself, or of someone who is or was in a room with it, as far as it was there to see.
CREATE FUNCTION read_user(reader bigint, the_user bigint)
RETURNS TABLE (id bigint, username text, created_at bigint, email text) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT u.id, u.username, u.created_at, CASE WHEN u.id = reader THEN a.email END
    FROM users u LEFT JOIN accounts a ON a.user_id = u.id
    WHERE u.id = the_user AND (u.id = reader OR EXISTS (
        SELECT 1 FROM members c JOIN members t ON t.room_id = c.room_id AND t.user_id = the_user
        WHERE c.user_id = reader AND (c.left_seq IS NULL OR t.first_joined_seq < c.left_seq)));
END
$$;
