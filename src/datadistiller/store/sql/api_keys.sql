-- name: create
-- A new key.
INSERT INTO api_keys (name, prefix, hash) VALUES (%(name)s, %(prefix)s, %(hash)s)
RETURNING key_id, name, prefix, created_at, last_used_at, revoked_at;

-- name: list
-- All keys, newest first, revoked ones too.
SELECT key_id, name, prefix, created_at, last_used_at, revoked_at FROM api_keys ORDER BY key_id DESC;

-- name: revoke
-- From now on it is refused. Doing it again changes nothing.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = %(key_id)s RETURNING key_id;

-- name: use
-- The key with this digest, if it is good; notes that it was used, at most once a minute.
WITH good AS (
    SELECT key_id, last_used_at FROM api_keys WHERE hash = %(hash)s AND revoked_at IS NULL
), noted AS (
    UPDATE api_keys k SET last_used_at = now() FROM good g
    WHERE k.key_id = g.key_id AND (g.last_used_at IS NULL OR g.last_used_at < now() - interval '1 minute')
)
SELECT key_id FROM good;

-- name: any
-- Whether there is a good key at all.
SELECT EXISTS (SELECT 1 FROM api_keys WHERE revoked_at IS NULL) AS found;
