-- The production database: its tables. What they mean is as in migrations/sqlite; what differs is said here.
--
-- Times are milliseconds since 1970, UTC. `seq` is a place in a room's order, 1, 2, 3 … without a hole; whoever changes a
-- room holds its row's lock from before the place is taken until the commit, so that `seq` order is commit order on all
-- nodes. There are no foreign keys: every write checks what it needs itself, and rooms are purged in small steps.
--
-- Rooms are the unit of partitioning. The keys of what grows with the messages and members begin with room_id, and these
-- tables are hash-partitioned by it: eight parts each, because a statement locks all parts of a table before it knows which
-- one it needs. To go further, the same key distributes them over machines.

-- People.
CREATE SEQUENCE user_ids;
CREATE TABLE users (
    id         bigint PRIMARY KEY DEFAULT nextval('user_ids'),
    username   text   NOT NULL, -- 'deleted user' once deleted
    created_at bigint NOT NULL,
    deleted_at bigint,
    identity   bytea UNIQUE     -- SHA-256 of a host's (issuer, subject); kept of a deleted one, which must not come back
);

-- Logins with e-mail address and password. Gone when the account is deleted.
CREATE TABLE accounts (
    user_id       bigint PRIMARY KEY,
    email         text NOT NULL,        -- as its owner wrote it
    email_key     text NOT NULL UNIQUE, -- folded, for comparison
    username_key  text NOT NULL UNIQUE, -- folded, for comparison
    password_hash text NOT NULL         -- a PHC string
);

-- Addresses an account logged in from.
CREATE TABLE known_addresses (
    user_id      bigint NOT NULL,
    address_hash bytea  NOT NULL,
    seen_at      bigint NOT NULL,
    PRIMARY KEY (user_id, address_hash)
);
CREATE INDEX known_addresses_by_age ON known_addresses (seen_at);

-- Login sessions. One that ended is marked here, noted in ended_sessions, and removed by the sweep.
CREATE TABLE sessions (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          bigint NOT NULL,
    device           text   NOT NULL,
    created_at       bigint NOT NULL,
    last_used_at     bigint NOT NULL,
    expires_at       bigint NOT NULL, -- of the current refresh token
    ended_at         bigint,
    refresh_hash     bytea  NOT NULL, -- of the current refresh token
    replaced_at      bigint,          -- when the current token replaced the one before
    sealed_successor bytea            -- the current token, sealed under a key that only the one before gives
);
CREATE UNIQUE INDEX sessions_by_token ON sessions (refresh_hash) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Refresh tokens that were replaced.
CREATE TABLE spent_tokens (
    session_id bigint  NOT NULL,
    token_hash bytea   NOT NULL,
    is_last    boolean NOT NULL, -- the one before the current
    PRIMARY KEY (session_id, token_hash)
);
CREATE INDEX spent_tokens_by_hash ON spent_tokens (token_hash);

-- Sessions that ended, of a host too, for as long as an access token can name them.
CREATE TABLE ended_sessions (
    session  text   PRIMARY KEY,
    ended_at bigint NOT NULL
);
CREATE INDEX ended_sessions_by_time ON ended_sessions (ended_at);

-- Secrets that all nodes share.
CREATE TABLE secrets (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);

-- Rooms. Each batch moves the heads of its rooms: half of a page is left free, so that the new version of a row finds its
-- place beside the old one, and no index is touched.
CREATE TABLE rooms (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text   NOT NULL,
    created_at   bigint NOT NULL,
    seq          bigint NOT NULL,           -- the head: the place of the last change
    member_count bigint NOT NULL,
    admin_count  bigint NOT NULL,
    renamed_seq  bigint NOT NULL DEFAULT 0, -- the last RoomChanged
    pruned_seq   bigint NOT NULL DEFAULT 0, -- the last change of what retention removed: before it, changes are incomplete
    deleted_seq  bigint                     -- RoomDeleted
) WITH (fillfactor = 50);
CREATE INDEX rooms_deleted ON rooms (id) WHERE deleted_seq IS NOT NULL;

-- Members, and those who were.
CREATE TABLE members (
    room_id          bigint  NOT NULL,
    user_id          bigint  NOT NULL,
    is_admin         boolean NOT NULL,
    joined_at        bigint  NOT NULL,
    first_joined_seq bigint  NOT NULL,
    joined_seq       bigint  NOT NULL,           -- the last MemberJoined
    changed_seq      bigint  NOT NULL,           -- the last MemberJoined, MemberChanged or MemberLeft
    left_seq         bigint,                     -- MemberLeft, of one who isn't in the room now
    left_reason      text,
    barred_invite_id bigint  NOT NULL DEFAULT 0, -- invites up to this one don't admit this user: an admin removed it
    PRIMARY KEY (room_id, user_id)
) PARTITION BY HASH (room_id);
CREATE INDEX members_present ON members (room_id, user_id) WHERE left_seq IS NULL;
CREATE INDEX members_by_user ON members (user_id, room_id);
CREATE INDEX members_changed ON members (room_id, changed_seq);

-- Changes of many rows at once, which keep their places for `changes`.
CREATE TABLE bulk_changes (
    room_id   bigint NOT NULL,
    seq       bigint NOT NULL,
    sender_id bigint, -- MessagesDeleted: whose; null: MembersChanged to admin
    PRIMARY KEY (room_id, seq)
);

CREATE TABLE invites (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id    bigint NOT NULL,
    token_hash bytea  NOT NULL UNIQUE, -- SHA-256
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    max_uses   bigint,
    uses       bigint NOT NULL DEFAULT 0,
    revoked_at bigint
);
CREATE INDEX invites_by_room ON invites (room_id, id);
CREATE INDEX invites_by_expiry ON invites (expires_at);

-- Messages, in the order of their rooms. Whoever names a message names its room too, so the ids need no index of their own.
CREATE SEQUENCE message_ids;
CREATE TABLE messages (
    room_id           bigint NOT NULL,
    seq               bigint NOT NULL,
    id                bigint NOT NULL,
    sender_id         bigint NOT NULL,
    changed_seq       bigint NOT NULL, -- the last change; equal to seq when new
    sent_at           bigint NOT NULL,
    edited_at         bigint,
    deleted_at        bigint,
    client_message_id text,
    first_hash        bytea,           -- SHA-256 of the first content, once that is gone and a repeated send may ask for it
    content           text   NOT NULL, -- empty when deleted
    PRIMARY KEY (room_id, seq)
) PARTITION BY HASH (room_id);
CREATE UNIQUE INDEX messages_by_id ON messages (room_id, id);
-- One message for a sender's id of it. Messages without one are in it too: whose messages are whose is asked of it.
CREATE UNIQUE INDEX messages_by_sender ON messages (room_id, sender_id, client_message_id);
-- What was changed after it was sent. New messages need no entry: they lie in the table in the order asked for.
CREATE INDEX messages_changed ON messages (room_id, changed_seq) WHERE changed_seq > seq;
-- What retention removes.
CREATE INDEX messages_by_age ON messages (sent_at);

DO $$
BEGIN
    FOR part IN 0..7 LOOP
        EXECUTE format('CREATE TABLE members_%1$s PARTITION OF members FOR VALUES WITH (MODULUS 8, REMAINDER %1$s)', part);
        EXECUTE format('CREATE TABLE messages_%1$s PARTITION OF messages FOR VALUES WITH (MODULUS 8, REMAINDER %1$s)', part);
    END LOOP;
END
$$;

-- Bulk deletions that readers obey, but whose rows are not all scrubbed yet.
CREATE TABLE erasures (
    room_id     bigint NOT NULL,
    sender_id   bigint NOT NULL,
    seq         bigint NOT NULL, -- MessagesDeleted: what the sender wrote before it is gone
    erased_at   bigint NOT NULL,
    scrubbed_to bigint NOT NULL, -- scrubbed up to this place
    PRIMARY KEY (room_id, sender_id)
);

-- Steps of renaming or deleting a user, one a room.
CREATE TABLE jobs (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    room_id bigint NOT NULL,
    kind    text   NOT NULL, -- 'renamed', 'deleted', 'erased' (deleted, messages too)
    UNIQUE (user_id, room_id, kind)
);

-- Events on their way to the bus. Its rows come and go, so it is vacuumed by their number and not by its size.
CREATE TABLE outbox (
    room_id bigint NOT NULL,
    seq     bigint NOT NULL,
    node    bigint NOT NULL, -- whose to publish
    event   text   NOT NULL, -- JSON
    PRIMARY KEY (room_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX outbox_by_node ON outbox (node, room_id, seq);

-- Until when a node is sure to be there.
CREATE TABLE leases (
    node        bigint PRIMARY KEY,
    valid_until bigint NOT NULL
);
