-- Payloads apart from the queue, the queue narrow, finished history out of what claims look at.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,     -- grows with time; named by its deliveries, so the id needs no index here
    time INTEGER NOT NULL,
    data BLOB,                   -- NULL where the payload is a file
    blob TEXT,                   -- the file's name in blobs/
    crc INTEGER NOT NULL,        -- CRC-32 of the payload
    trace TEXT,
    due INTEGER,
    hops INTEGER NOT NULL
) STRICT;
CREATE INDEX event_blob ON event (blob) WHERE blob IS NOT NULL;

CREATE TABLE delivery (
    id TEXT NOT NULL PRIMARY KEY, -- the event's deliveries are the 255 keys after the event's own id
    event INTEGER NOT NULL,
    trigger TEXT NOT NULL,
    function TEXT NOT NULL,
    state INTEGER NOT NULL,      -- 0 queued, 1 running, 2 succeeded, 3 dead, 4 cancelled
    blocked INTEGER NOT NULL,    -- another unfinished one of its ordering key goes first
    attempts INTEGER NOT NULL,
    created INTEGER NOT NULL,
    due INTEGER NOT NULL,
    finished INTEGER,
    version TEXT,
    duration REAL,
    dedup_key TEXT,
    ordering_key TEXT,
    idempotency_key TEXT,
    error_type TEXT,
    error_message TEXT,
    reason TEXT,
    owner INTEGER NOT NULL,
    claims INTEGER NOT NULL,
    lost INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- What may be claimed, the earliest due first: as small as the backlog, whatever the history.
CREATE INDEX delivery_claimable ON delivery (function, trigger, due, id) WHERE state = 0 AND blocked = 0;
-- The unfinished of an ordering key: the one that goes next (blocked = 0), then those behind it.
CREATE INDEX delivery_line ON delivery (function, trigger, ordering_key, blocked, id)
    WHERE ordering_key IS NOT NULL AND state < 2;
-- What is listed and pruned: each state of a lane is a range of its own, in the order of time.
CREATE INDEX delivery_list ON delivery (function, trigger, state, id);

CREATE TABLE attempt (
    delivery TEXT NOT NULL,
    claim INTEGER NOT NULL,
    request TEXT NOT NULL,
    started INTEGER NOT NULL,
    duration REAL NOT NULL,
    version TEXT NOT NULL,
    outcome TEXT NOT NULL,
    error_type TEXT,
    error_message TEXT,
    payload BLOB,
    init REAL,
    memory INTEGER,
    PRIMARY KEY (delivery, claim)
) STRICT, WITHOUT ROWID;

CREATE TABLE key (
    trigger TEXT NOT NULL,
    key TEXT NOT NULL,
    event TEXT NOT NULL,
    owed INTEGER NOT NULL,       -- how many deliveries the event had
    expires INTEGER NOT NULL,
    PRIMARY KEY (trigger, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX key_expires ON key (expires);

CREATE TABLE answer (
    function TEXT NOT NULL,
    key TEXT NOT NULL,
    payload BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (function, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX answer_expires ON answer (expires);

CREATE TABLE checkpoint (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The ledgers. The counts of the whole store have an empty function and trigger.
CREATE TABLE tally (
    function TEXT NOT NULL,
    trigger TEXT NOT NULL,
    entry TEXT NOT NULL,         -- a state, or accepted, discarded, pruned
    number INTEGER NOT NULL,
    PRIMARY KEY (function, trigger, entry)
) STRICT, WITHOUT ROWID;

CREATE TABLE opening (
    owner INTEGER PRIMARY KEY,
    pid INTEGER NOT NULL
) STRICT;
