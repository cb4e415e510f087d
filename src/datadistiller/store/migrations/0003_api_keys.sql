-- Keys of the HTTP API. Only a digest is kept; why a plain one is enough stands in store/api_keys.py.
CREATE TABLE api_keys (
    key_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    prefix       text NOT NULL, -- how the key begins, so that a person can tell which one it is
    hash         bytea NOT NULL UNIQUE, -- SHA-256 of the key
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz, -- to the minute or so
    revoked_at   timestamptz
);
