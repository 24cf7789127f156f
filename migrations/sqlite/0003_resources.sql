-- What resources have: the sum of the lines of a meter that name the same one, kept in the transaction
-- that inserts the lines. One that has nothing left has no row. org_id is '' for users without an
-- organisation; a sum beyond 64 bits stays at the bound.
CREATE TABLE usage_resources (
    meter    TEXT    NOT NULL,
    resource TEXT    NOT NULL,
    user_id  TEXT    NOT NULL,
    org_id   TEXT    NOT NULL,
    amount   INTEGER NOT NULL,
    -- The id of its first line since it last had nothing.
    first    TEXT    NOT NULL,
    PRIMARY KEY (meter, resource, user_id, org_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_resources_org ON usage_resources (meter, resource, org_id) WHERE org_id <> '';

-- Requests with an Idempotency-Key: who does them, and what was answered. Kept for 25 hours at least.
CREATE TABLE idempotency_keys (
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    body_sha256 BLOB    NOT NULL,
    -- Of the first attempt: the ids of its events derive from it.
    request_key TEXT    NOT NULL,
    -- Of the gateway that does it.
    journal     TEXT    NOT NULL,
    begun_at    INTEGER NOT NULL,
    -- None while it runs.
    status      INTEGER,
    answer      BLOB,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_begun ON idempotency_keys (begun_at);
