-- What resources have: the sum of the lines of a meter that name the same one, kept in the transaction
-- that inserts the lines. One that has nothing left has no row. org_id is '' for users without an
-- organisation; a sum beyond 64 bits stays at the bound.
CREATE TABLE usage_resources (
    meter    text   COLLATE "C" NOT NULL,
    resource text   COLLATE "C" NOT NULL,
    user_id  text   COLLATE "C" NOT NULL,
    org_id   text   COLLATE "C" NOT NULL,
    amount   bigint NOT NULL,
    -- The id of its first line since it last had nothing.
    first    uuid   NOT NULL,
    PRIMARY KEY (meter, resource, user_id, org_id)
) WITH (fillfactor = 70);

CREATE INDEX usage_resources_org ON usage_resources (meter, resource, org_id) WHERE org_id <> '';

-- Requests with an Idempotency-Key: who does them, and what was answered. Kept for 25 hours at least.
CREATE TABLE idempotency_keys (
    scope       text        COLLATE "C" NOT NULL,
    key         text        COLLATE "C" NOT NULL,
    body_sha256 bytea       NOT NULL,
    -- Of the first attempt: the ids of its events derive from it.
    request_key uuid        NOT NULL,
    -- Of the gateway that does it.
    journal     uuid        NOT NULL,
    begun_at    timestamptz NOT NULL,
    -- None while it runs.
    status      integer,
    answer      bytea,
    PRIMARY KEY (scope, key)
);

CREATE INDEX idempotency_keys_begun ON idempotency_keys (begun_at);
