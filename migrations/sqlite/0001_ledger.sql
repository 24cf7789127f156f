-- The ledger in SQLite. Instants are milliseconds since 1970-01-01T00:00:00Z; to read them:
--   SELECT strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch'), * FROM usage_ledger;

-- One line per meter of each settled request. The id is a uuid v7 made by the gateway, so that lines
-- are appended in about the order of their keys, and a repeated one is recognised.
CREATE TABLE usage_ledger (
    id          TEXT    NOT NULL PRIMARY KEY,
    at          INTEGER NOT NULL,
    user_id     TEXT    NOT NULL,
    org_id      TEXT,
    tier        TEXT    NOT NULL,
    meter       TEXT    NOT NULL,
    amount      INTEGER NOT NULL,
    estimated   INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    route       TEXT    NOT NULL,
    method      TEXT    NOT NULL,
    status      INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    request_id  TEXT    NOT NULL,
    resource    TEXT,
    metadata    TEXT
) STRICT, WITHOUT ROWID;

-- No other index: a key at a random place would cost more than the line itself. Sums come from the
-- tables below, and what they do not have from a range of ids, which begin with the instant `at`.

-- Sums per minute in UTC, kept in the transaction that inserts the lines. What is before
-- minutes_merged.until is merged: one sum per quarter of an hour of it, which is where the midnights of
-- all time zones are. The start comes first, so that the minute that is written now lies together.
CREATE TABLE usage_minutely (
    start   INTEGER NOT NULL,
    user_id TEXT    NOT NULL,
    meter   TEXT    NOT NULL,
    org_id  TEXT    NOT NULL,
    route   TEXT    NOT NULL,
    amount  INTEGER NOT NULL,
    events  INTEGER NOT NULL,
    PRIMARY KEY (start, user_id, meter, org_id, route)
) STRICT, WITHOUT ROWID;

-- Without the amount, so that adding to a sum leaves the index alone.
CREATE INDEX usage_minutely_org ON usage_minutely (start, org_id, meter) WHERE org_id <> '';

-- One row: the start of the first minute that is not merged.
CREATE TABLE minutes_merged (
    only  INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    until INTEGER NOT NULL
) STRICT;

INSERT INTO minutes_merged (only, until) VALUES (1, -9223372036854775808);

-- Sums per hour and per day in UTC, kept in the transaction that inserts the lines. org_id is '' for
-- users without an organisation. A sum beyond 64 bits stays at the bound.
CREATE TABLE usage_hourly (
    user_id TEXT    NOT NULL,
    meter   TEXT    NOT NULL,
    start   INTEGER NOT NULL,
    org_id  TEXT    NOT NULL,
    route   TEXT    NOT NULL,
    amount  INTEGER NOT NULL,
    events  INTEGER NOT NULL,
    PRIMARY KEY (user_id, meter, start, org_id, route)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_hourly_org ON usage_hourly (org_id, meter, start, amount) WHERE org_id <> '';

CREATE TABLE usage_daily (
    user_id TEXT    NOT NULL,
    meter   TEXT    NOT NULL,
    start   INTEGER NOT NULL,
    org_id  TEXT    NOT NULL,
    route   TEXT    NOT NULL,
    amount  INTEGER NOT NULL,
    events  INTEGER NOT NULL,
    PRIMARY KEY (user_id, meter, start, org_id, route)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_daily_org ON usage_daily (org_id, meter, start, amount) WHERE org_id <> '';

-- How far each journal is in the ledger: all settlements before the position, and none behind it.
CREATE TABLE journal_watermark (
    journal  TEXT    NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
