-- What is known of users and organisations beyond what requests say. Whoever may write here may edit it
-- with SQL: gateways that run hear of every edit at once. `tollgate subject set` checks what it writes.
CREATE TABLE subjects (
    scope          text        COLLATE "C" NOT NULL CHECK (scope IN ('user', 'org')),
    id             text        COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 256),
    -- Of tier-limits.toml. A user without one has the organisation's.
    tier           text        CHECK (tier <> ''),
    -- Of a user.
    org_id         text        COLLATE "C"
                               CHECK (org_id IS NULL OR (scope = 'user' AND length(org_id) BETWEEN 1 AND 256)),
    -- A name of the IANA database, as Europe/Berlin.
    time_zone      text        CHECK (time_zone <> ''),
    -- Billing months and Ndays are counted from the date that it falls on in the time zone.
    billing_anchor timestamptz CHECK (isfinite(billing_anchor)),
    -- A JSON object.
    overrides      jsonb       CHECK (jsonb_typeof(overrides) = 'object'),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, id)
);

-- Tells gateways which row was changed, as "user:ann"; nothing stands for any row.
CREATE FUNCTION tollgate_subject_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('tollgate_subjects', '');
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('tollgate_subjects', OLD.scope || ':' || OLD.id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('tollgate_subjects', NEW.scope || ':' || NEW.id);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER subjects_changed AFTER INSERT OR UPDATE OR DELETE ON subjects
    FOR EACH ROW EXECUTE FUNCTION tollgate_subject_changed();

CREATE TRIGGER subjects_truncated AFTER TRUNCATE ON subjects
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate_subject_changed();
