-- A repeated send is found by its whole key. As a plain join the planner was free to look up all that a sender ever wrote in the
-- room and to compare the client's id afterwards: a send's cost grew with what its sender had sent before.

CREATE OR REPLACE FUNCTION send_messages(
    room_ids bigint[], sender_ids bigint[], client_ids text[], contents text[], at bigint, for_node bigint
) RETURNS TABLE (id bigint, seq bigint, repeats bigint, earlier json, same boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH sends AS MATERIALIZED (
        SELECT s.n, s.room_id, s.sender_id, s.client_id, s.content, r.seq AS head, m.id AS earlier_id, m.earlier,
               CASE WHEN m.first_hash IS NULL THEN m.content = s.content
                    ELSE m.first_hash = sha256(convert_to(s.content, 'UTF8')) END AS same,
               CASE WHEN s.client_id IS NULL THEN s.n
                    ELSE min(s.n) OVER (PARTITION BY s.room_id, s.sender_id, s.client_id) END AS first
        FROM unnest(room_ids, sender_ids, client_ids, contents) WITH ORDINALITY
                 AS s (room_id, sender_id, client_id, content, n)
        LEFT JOIN LATERAL (
            SELECT r.seq FROM members b JOIN rooms r ON r.id = b.room_id
            WHERE b.room_id = s.room_id AND b.user_id = s.sender_id AND b.left_seq IS NULL
            LIMIT 1
        ) r ON true
        LEFT JOIN LATERAL (
            SELECT m.id, m.first_hash, m.content, json_build_array(
                       m.id, m.seq, m.changed_seq, m.sender_id, m.sent_at, m.edited_at, coalesce(m.deleted_at, e.erased_at),
                       m.client_message_id, CASE WHEN e.seq IS NULL THEN m.content ELSE '' END) AS earlier
            FROM messages m
            LEFT JOIN erasures e ON e.room_id = m.room_id AND e.sender_id = m.sender_id AND m.seq < e.seq
            WHERE m.room_id = s.room_id AND m.sender_id = s.sender_id AND m.client_message_id = s.client_id
            LIMIT 1
        ) m ON r.seq IS NOT NULL
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
