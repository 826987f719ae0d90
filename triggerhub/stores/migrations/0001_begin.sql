-- Payloads apart from the queue, the queue narrow, finished history out of every hot index.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    trigger TEXT NOT NULL,
    time INTEGER NOT NULL,
    data BLOB,
    blob TEXT,
    crc INTEGER NOT NULL,
    dedup_key TEXT,
    ordering_key TEXT,
    trace TEXT,
    due INTEGER,
    hops INTEGER NOT NULL
) STRICT;
CREATE INDEX event_blob ON event (blob) WHERE blob IS NOT NULL;

CREATE TABLE delivery (
    id TEXT NOT NULL PRIMARY KEY,
    trigger TEXT NOT NULL,
    function TEXT NOT NULL,
    state INTEGER NOT NULL,      -- 0 queued, 1 running, 2 succeeded, 3 dead, 4 cancelled
    blocked INTEGER NOT NULL,    -- an older unfinished one of its ordering key stands before it
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
    owner INTEGER NOT NULL DEFAULT 0,
    claims INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_claimable ON delivery (function, trigger, due, id) WHERE state = 0 AND blocked = 0;
CREATE INDEX delivery_running ON delivery (id) WHERE state = 1;
CREATE INDEX delivery_queued ON delivery (id) WHERE state = 0;
CREATE INDEX delivery_dead ON delivery (id) WHERE state = 3;
CREATE INDEX delivery_dead_since ON delivery (function, finished) WHERE state = 3;
CREATE INDEX delivery_cancelled ON delivery (id) WHERE state = 4;
CREATE INDEX delivery_over ON delivery (finished) WHERE state IN (2, 4);
CREATE INDEX delivery_line ON delivery (function, trigger, ordering_key, id)
    WHERE ordering_key IS NOT NULL AND state < 2;
CREATE INDEX delivery_lane ON delivery (function, trigger, id);

CREATE TABLE attempt (
    seq INTEGER PRIMARY KEY,
    delivery TEXT NOT NULL,
    request TEXT NOT NULL,
    started INTEGER NOT NULL,
    duration REAL NOT NULL,
    version TEXT NOT NULL,
    outcome TEXT NOT NULL,
    error_type TEXT,
    error_message TEXT,
    payload BLOB,
    init REAL,
    memory INTEGER
) STRICT;
CREATE INDEX attempt_delivery ON attempt (delivery);

CREATE TABLE key (
    trigger TEXT NOT NULL,
    key TEXT NOT NULL,
    event TEXT NOT NULL,
    owed INTEGER NOT NULL,
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
