-- The ledger in Postgres. The same tables as in SQLite, for any number of gateways that share them.

-- One line per meter of each settled request. The id is a uuid v7 made by the gateway: it begins with
-- the milliseconds of the admission, so that a range of ids is a span of time, and a repeated line is
-- recognised. Partitions, one a month of the ids in UTC, are made by the gateways ahead of time.
CREATE TABLE usage_ledger (
    id          uuid        NOT NULL PRIMARY KEY,
    at          timestamptz NOT NULL,
    user_id     text        COLLATE "C" NOT NULL,
    org_id      text        COLLATE "C",
    tier        text        NOT NULL,
    meter       text        COLLATE "C" NOT NULL,
    amount      bigint      NOT NULL,
    estimated   boolean     NOT NULL,
    route       text        COLLATE "C" NOT NULL,
    method      text        NOT NULL,
    status      integer     NOT NULL,
    duration_ms bigint      NOT NULL,
    request_id  text        NOT NULL,
    resource    text,
    metadata    jsonb
) PARTITION BY RANGE (id);

-- Sums per minute in UTC, kept in the transaction that inserts the lines. What is before
-- minutes_merged.until is merged: one sum per quarter of an hour of it, which is where the midnights of
-- all time zones are. org_id is '' for users without an organisation, here and below. Sums are updated
-- all the time: the free space keeps their new versions on the page of the old one, out of the indexes.
CREATE TABLE usage_minutely (
    start   timestamptz NOT NULL,
    user_id text        COLLATE "C" NOT NULL,
    meter   text        COLLATE "C" NOT NULL,
    org_id  text        COLLATE "C" NOT NULL,
    route   text        COLLATE "C" NOT NULL,
    amount  bigint      NOT NULL,
    events  bigint      NOT NULL,
    PRIMARY KEY (start, user_id, meter, org_id, route)
) WITH (fillfactor = 70);

CREATE INDEX usage_minutely_org ON usage_minutely (start, org_id, meter) WHERE org_id <> '';

-- One row: the start of the first minute that is not merged.
CREATE TABLE minutes_merged (
    one   boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    until timestamptz NOT NULL
);

INSERT INTO minutes_merged (until) VALUES ('-infinity');

-- Sums per hour and per day in UTC, kept in the transaction that inserts the lines. A sum beyond 64 bits
-- stays at the bound.
CREATE TABLE usage_hourly (
    user_id text        COLLATE "C" NOT NULL,
    meter   text        COLLATE "C" NOT NULL,
    start   timestamptz NOT NULL,
    org_id  text        COLLATE "C" NOT NULL,
    route   text        COLLATE "C" NOT NULL,
    amount  bigint      NOT NULL,
    events  bigint      NOT NULL,
    PRIMARY KEY (user_id, meter, start, org_id, route)
) WITH (fillfactor = 70);

CREATE INDEX usage_hourly_org ON usage_hourly (org_id, meter, start) WHERE org_id <> '';

CREATE TABLE usage_daily (
    user_id text        COLLATE "C" NOT NULL,
    meter   text        COLLATE "C" NOT NULL,
    start   timestamptz NOT NULL,
    org_id  text        COLLATE "C" NOT NULL,
    route   text        COLLATE "C" NOT NULL,
    amount  bigint      NOT NULL,
    events  bigint      NOT NULL,
    PRIMARY KEY (user_id, meter, start, org_id, route)
) WITH (fillfactor = 70);

CREATE INDEX usage_daily_org ON usage_daily (org_id, meter, start) WHERE org_id <> '';

-- How far each journal is in the ledger: all settlements before the position, and none behind it.
CREATE TABLE journal_watermark (
    journal  uuid   NOT NULL PRIMARY KEY,
    position bigint NOT NULL
);

-- Which gateways run: each says about once a second that it is there, and at its end that it is not.
CREATE TABLE gateway_instances (
    journal    uuid        NOT NULL PRIMARY KEY,
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
) WITH (fillfactor = 70);
