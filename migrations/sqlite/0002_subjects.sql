-- What is known of users and organisations beyond what requests say. Whoever may write here may edit it
-- with SQL: every edit takes effect in a running gateway within a second. `tollgate subject set` checks
-- what it writes.
CREATE TABLE subjects (
    scope          TEXT    NOT NULL CHECK (scope IN ('user', 'org')),
    id             TEXT    NOT NULL CHECK (length(id) BETWEEN 1 AND 256),
    -- Of tier-limits.toml. A user without one has the organisation's.
    tier           TEXT    CHECK (tier <> ''),
    -- Of a user.
    org_id         TEXT    CHECK (org_id IS NULL OR (scope = 'user' AND length(org_id) BETWEEN 1 AND 256)),
    -- A name of the IANA database, as Europe/Berlin.
    time_zone      TEXT    CHECK (time_zone <> ''),
    -- Billing months and Ndays are counted from the date that it falls on in the time zone. In milliseconds:
    --   unixepoch('2026-01-31 12:00') * 1000
    billing_anchor INTEGER,
    -- A JSON object.
    overrides      TEXT    CHECK (json_valid(overrides) AND json_type(overrides) = 'object'),
    updated_at     INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;

-- Which rows were changed, in their order: gateways look for what is new here. The last ten thousand are
-- kept; who missed more reads everything anew.
CREATE TABLE subject_changes (
    seq   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    scope TEXT    NOT NULL,
    id    TEXT    NOT NULL
) STRICT;

CREATE TRIGGER subject_changes_cut AFTER INSERT ON subject_changes BEGIN
    DELETE FROM subject_changes WHERE seq <= NEW.seq - 10000;
END;

CREATE TRIGGER subjects_inserted AFTER INSERT ON subjects BEGIN
    INSERT INTO subject_changes (scope, id) VALUES (NEW.scope, NEW.id);
END;

CREATE TRIGGER subjects_updated AFTER UPDATE ON subjects BEGIN
    INSERT INTO subject_changes (scope, id) VALUES (NEW.scope, NEW.id);
END;

CREATE TRIGGER subjects_renamed AFTER UPDATE OF scope, id ON subjects BEGIN
    INSERT INTO subject_changes (scope, id) VALUES (OLD.scope, OLD.id);
END;

CREATE TRIGGER subjects_deleted AFTER DELETE ON subjects BEGIN
    INSERT INTO subject_changes (scope, id) VALUES (OLD.scope, OLD.id);
END;
