-- How the follower of a search index outside the API stands, and how often it was asked to build the index anew.
CREATE TABLE followers (
    name      text PRIMARY KEY,
    owner     uuid NOT NULL DEFAULT gen_random_uuid(), -- names this database in the index, and its restored copies
    worker_id text NOT NULL DEFAULT '',
    position  text NOT NULL DEFAULT '', -- of the change feed; empty: nothing was followed yet
    error     text, -- why it does not follow at the moment
    asked     bigint NOT NULL DEFAULT 0,
    rebuilt   bigint NOT NULL DEFAULT 0, -- the last of these requests that is done
    seen_at   timestamptz -- never: it has not led yet
) WITH (fillfactor = 50);
INSERT INTO followers (name) VALUES ('index');
