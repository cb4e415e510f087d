-- name: lock
-- One migration at a time; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('datadistiller.migrate'));

-- name: create
-- The table of what was applied.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: applied
-- The versions that were applied.
SELECT version FROM schema_migrations;

-- name: record
-- Notes a migration as applied.
INSERT INTO schema_migrations (version, name) VALUES (%(version)s, %(name)s);
