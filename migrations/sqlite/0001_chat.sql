-- The embedded database.
--
-- Times are milliseconds since 1970, UTC. `seq` is a place in a room's order, 1, 2, 3 … without a hole. Ids are never used
-- twice (AUTOINCREMENT, or the counter below), so that what a client kept of something purged never names something new.
-- Tables of a room have a key that begins with room_id and are clustered by it (WITHOUT ROWID): a room's rows lie side by
-- side, however many busier rooms there are. There are no foreign keys: every write checks what it needs itself, and rooms
-- are purged in small steps, children first.

-- People. A deleted one stays as a tombstone, so that its id keeps meaning the same.
CREATE TABLE users (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    username   TEXT    NOT NULL, -- 'deleted user' once deleted
    created_at INTEGER NOT NULL,
    deleted_at INTEGER,
    identity   BLOB UNIQUE       -- SHA-256 of a host's (issuer, subject); kept of a deleted one, which must not come back
) STRICT;

-- Logins with e-mail address and password. Gone when the account is deleted.
CREATE TABLE accounts (
    user_id       INTEGER PRIMARY KEY,
    email         TEXT NOT NULL,        -- as its owner wrote it
    email_key     TEXT NOT NULL UNIQUE, -- folded, for comparison
    username_key  TEXT NOT NULL UNIQUE, -- folded, for comparison
    password_hash TEXT NOT NULL         -- a PHC string
) STRICT;

-- Addresses an account logged in from: an owner there can't be locked out by strangers elsewhere.
CREATE TABLE known_addresses (
    user_id      INTEGER NOT NULL,
    address_hash BLOB    NOT NULL,
    seen_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, address_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX known_addresses_by_age ON known_addresses (seen_at);

-- Login sessions. One that ended is marked here, noted in ended_sessions, and removed by the sweep.
CREATE TABLE sessions (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id          INTEGER NOT NULL,
    device           TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    last_used_at     INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL, -- of the current refresh token
    ended_at         INTEGER,
    refresh_hash     BLOB    NOT NULL, -- of the current refresh token
    replaced_at      INTEGER,          -- when the current token replaced the one before
    sealed_successor BLOB              -- the current token, sealed under a key that only the one before gives
) STRICT;
CREATE UNIQUE INDEX sessions_by_token ON sessions (refresh_hash) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Refresh tokens that were replaced: whoever shows one isn't the owner, or lost a reply.
CREATE TABLE spent_tokens (
    session_id INTEGER NOT NULL,
    token_hash BLOB    NOT NULL,
    is_last    INTEGER NOT NULL, -- 1: the one before the current
    PRIMARY KEY (session_id, token_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_tokens_by_hash ON spent_tokens (token_hash);

-- Sessions that ended, of a host too, for as long as an access token can name them.
CREATE TABLE ended_sessions (
    session  TEXT    NOT NULL PRIMARY KEY,
    ended_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ended_sessions_by_time ON ended_sessions (ended_at);

-- Secrets that all nodes share.
CREATE TABLE secrets (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Rooms. A deleted one refuses everything at once, and nobody is in it; its rows go by and by, this one last.
CREATE TABLE rooms (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    seq          INTEGER NOT NULL,           -- the head: the place of the last change
    member_count INTEGER NOT NULL,
    admin_count  INTEGER NOT NULL,
    renamed_seq  INTEGER NOT NULL DEFAULT 0, -- the last RoomChanged
    pruned_seq   INTEGER NOT NULL DEFAULT 0, -- the last change of what retention removed: before it, changes are incomplete
    deleted_seq  INTEGER                     -- RoomDeleted
) STRICT;
CREATE INDEX rooms_deleted ON rooms (id) WHERE deleted_seq IS NOT NULL;

-- Members, and those who were: `changes` tells of their going, and who shared a room may see each other's profile, also
-- when the room is gone.
CREATE TABLE members (
    room_id          INTEGER NOT NULL,
    user_id          INTEGER NOT NULL,
    is_admin         INTEGER NOT NULL,
    joined_at        INTEGER NOT NULL,
    first_joined_seq INTEGER NOT NULL,
    joined_seq       INTEGER NOT NULL,           -- the last MemberJoined
    changed_seq      INTEGER NOT NULL,           -- the last MemberJoined, MemberChanged or MemberLeft
    left_seq         INTEGER,                    -- MemberLeft, of one who isn't in the room now
    left_reason      TEXT,
    barred_invite_id INTEGER NOT NULL DEFAULT 0, -- invites up to this one don't admit this user: an admin removed it
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_present ON members (room_id, user_id) WHERE left_seq IS NULL;
CREATE INDEX members_by_user ON members (user_id, room_id, left_seq);
CREATE INDEX members_changed ON members (room_id, changed_seq);

-- Changes of many rows at once, which keep their places for `changes`.
CREATE TABLE bulk_changes (
    room_id   INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    sender_id INTEGER, -- MessagesDeleted: whose; null: MembersChanged to admin
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE invites (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    room_id    INTEGER NOT NULL,
    token_hash BLOB    NOT NULL UNIQUE, -- SHA-256
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    max_uses   INTEGER,
    uses       INTEGER NOT NULL DEFAULT 0,
    revoked_at INTEGER
) STRICT;
CREATE INDEX invites_by_room ON invites (room_id, id);
CREATE INDEX invites_by_expiry ON invites (expires_at);

-- Messages, in the order of their rooms.
CREATE TABLE messages (
    room_id           INTEGER NOT NULL,
    seq               INTEGER NOT NULL,
    id                INTEGER NOT NULL,
    sender_id         INTEGER NOT NULL,
    changed_seq       INTEGER NOT NULL, -- the last change; equal to seq when new
    sent_at           INTEGER NOT NULL,
    edited_at         INTEGER,
    deleted_at        INTEGER,
    client_message_id TEXT,
    first_hash        BLOB,             -- SHA-256 of the first content, once that is gone and a repeated send may ask for it
    content           TEXT NOT NULL,    -- empty when deleted
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;
-- One message for a sender's id of it. Messages without one are in it too: whose messages are whose is asked of it.
CREATE UNIQUE INDEX messages_by_sender ON messages (room_id, sender_id, client_message_id);
-- What was changed after it was sent. New messages need no entry: they lie in the table in the order asked for.
CREATE INDEX messages_changed ON messages (room_id, changed_seq) WHERE changed_seq > seq;

-- Where a message is. Ids grow, so a new row goes to the end, which costs next to nothing; an index of the ids on the
-- clustered table would touch another page for each room that is written to.
CREATE TABLE message_places (
    id      INTEGER PRIMARY KEY,
    room_id INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    sent_at INTEGER NOT NULL
) STRICT;
-- What retention removes. Times grow as well, but a clock may be set back.
CREATE INDEX message_places_by_age ON message_places (sent_at);

-- The last message id given out.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('message', 0);

-- Bulk deletions that readers obey, but whose rows are not all scrubbed yet.
CREATE TABLE erasures (
    room_id     INTEGER NOT NULL,
    sender_id   INTEGER NOT NULL,
    seq         INTEGER NOT NULL, -- MessagesDeleted: what the sender wrote before it is gone
    erased_at   INTEGER NOT NULL,
    scrubbed_to INTEGER NOT NULL, -- scrubbed up to this place
    PRIMARY KEY (room_id, sender_id)
) STRICT, WITHOUT ROWID;

-- Steps of renaming or deleting a user, one a room.
CREATE TABLE jobs (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    room_id INTEGER NOT NULL,
    kind    TEXT    NOT NULL, -- 'renamed', 'deleted', 'erased' (deleted, messages too)
    UNIQUE (user_id, room_id, kind)
) STRICT;

-- Events on their way to the bus. A row is written with its change and removed when the bus has it.
CREATE TABLE outbox (
    room_id INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    node    INTEGER NOT NULL, -- whose to publish
    event   TEXT    NOT NULL, -- JSON
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_by_node ON outbox (node, room_id, seq);

-- Until when a node is sure to be there.
CREATE TABLE leases (
    node        INTEGER PRIMARY KEY,
    valid_until INTEGER NOT NULL
) STRICT;
