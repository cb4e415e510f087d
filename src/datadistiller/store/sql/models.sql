-- name: active
-- The active model.
SELECT model_id, fingerprint, dim FROM models WHERE active;

-- name: activate
-- The first one wins; another one is refused by the caller.
INSERT INTO models (fingerprint, dim, active) VALUES (%(fingerprint)s, %(dim)s, true)
ON CONFLICT DO NOTHING;
