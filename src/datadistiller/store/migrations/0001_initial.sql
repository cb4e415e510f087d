-- The whole state of DataDistiller. PostgreSQL 15 to 18. Lock order everywhere: job -> messages -> chunks.

CREATE TABLE workers (
    boot         uuid PRIMARY KEY,
    worker_id    text NOT NULL,
    role         text NOT NULL,
    pid          integer NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    seen_at      timestamptz NOT NULL DEFAULT now(),
    memory_bytes bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE models (
    model_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint text NOT NULL UNIQUE,
    dim         integer NOT NULL,
    active      boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX models_one_active ON models (active) WHERE active;

CREATE TABLE document_jobs (
    job_id           uuid PRIMARY KEY,
    job_no           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    filename         text NOT NULL,
    collection       text NOT NULL,
    media_type       text NOT NULL,
    file_size        bigint NOT NULL,
    sha256           text NOT NULL,
    object_key       text NOT NULL,
    lane             smallint NOT NULL DEFAULT 0,
    metadata         jsonb NOT NULL DEFAULT '{}',
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN
                     ('pending', 'processing', 'chunking', 'embedding', 'completed', 'failed', 'partial', 'cancelled')),
    attempt          integer NOT NULL DEFAULT 1,
    progress         smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    total_chunks     integer,
    processed_chunks integer NOT NULL DEFAULT 0,
    failed_chunks    integer NOT NULL DEFAULT 0,
    title            text NOT NULL DEFAULT '',
    parser           text NOT NULL DEFAULT '',
    page_count       integer,
    failed_pages     jsonb NOT NULL DEFAULT '[]',
    searchable       boolean NOT NULL DEFAULT false,
    error            jsonb,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    deleted_at       timestamptz,
    purged_at        timestamptz
) WITH (fillfactor = 80);
-- Same bytes in the same collection are one document.
CREATE UNIQUE INDEX document_jobs_content ON document_jobs (collection, sha256) WHERE deleted_at IS NULL;
CREATE INDEX document_jobs_metadata ON document_jobs USING gin (metadata jsonb_path_ops) WHERE deleted_at IS NULL;
CREATE INDEX document_jobs_newest ON document_jobs (created_at DESC, job_id DESC);
CREATE INDEX document_jobs_unfinished ON document_jobs (created_at)
    WHERE status IN ('pending', 'processing', 'chunking', 'embedding') AND deleted_at IS NULL;

CREATE TABLE idempotency_keys (
    key          text PRIMARY KEY,
    request_hash text NOT NULL,
    job_id       uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE document_pages (
    job_id uuid NOT NULL REFERENCES document_jobs ON DELETE CASCADE,
    page   integer NOT NULL,
    label  text NOT NULL DEFAULT '',
    text   text NOT NULL,
    PRIMARY KEY (job_id, page)
);

CREATE TABLE document_chunks (
    chunk_id   uuid PRIMARY KEY,
    chunk_no   bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    job_id     uuid NOT NULL REFERENCES document_jobs ON DELETE CASCADE,
    attempt    integer NOT NULL,
    ordinal    integer NOT NULL,
    status     text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'indexed', 'failed')),
    page       integer NOT NULL,
    start_char integer NOT NULL,
    end_char   integer NOT NULL,
    tokens     integer NOT NULL,
    context    text NOT NULL,
    text       text NOT NULL,
    error      jsonb
) WITH (fillfactor = 85);
-- No index on status: it would end heap-only updates.
CREATE INDEX document_chunks_job ON document_chunks (job_id, ordinal);

-- float16[dim], little endian. No foreign key to models: every insert would lock its one row.
CREATE TABLE chunk_vectors (
    model_id integer NOT NULL,
    chunk_no bigint NOT NULL REFERENCES document_chunks (chunk_no) ON DELETE CASCADE,
    vector   bytea NOT NULL,
    PRIMARY KEY (model_id, chunk_no)
);
-- PLAIN: compressing noise costs time and saves nothing. (Within CREATE TABLE only from PostgreSQL 16.)
ALTER TABLE chunk_vectors ALTER COLUMN vector SET STORAGE PLAIN;
CREATE INDEX chunk_vectors_chunk ON chunk_vectors (chunk_no);

-- The change feed. A row means "read the current state of these chunks again"; read by snapshot difference.
CREATE TABLE chunk_changes (
    xid       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    n         bigint GENERATED ALWAYS AS IDENTITY,
    job_id    uuid NOT NULL,
    chunk_nos bigint[] NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (xid, n)
);

CREATE TABLE messages (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic        text NOT NULL,
    job_id       uuid NOT NULL REFERENCES document_jobs ON DELETE CASCADE,
    job_attempt  integer NOT NULL,
    chunk_id     uuid,
    lane         smallint NOT NULL,
    tries        integer NOT NULL DEFAULT 0,
    crashes      integer NOT NULL DEFAULT 0,
    history      jsonb NOT NULL DEFAULT '[]',
    created_at   timestamptz NOT NULL DEFAULT now(),
    available_at timestamptz NOT NULL DEFAULT now(),
    parked_since timestamptz,
    published_at timestamptz,
    lease_token  uuid,
    lease_boot   uuid,
    lease_until  timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX messages_due ON messages (topic, lane, available_at, id);
CREATE INDEX messages_job ON messages (job_id);
-- So that looking for lost leases does not read all that waits. Claims measured no dearer with it.
CREATE INDEX messages_leased ON messages (id) WHERE lease_token IS NOT NULL;

CREATE TABLE dead_letters (
    dead_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  bigint NOT NULL,
    topic       text NOT NULL,
    job_id      uuid NOT NULL REFERENCES document_jobs ON DELETE CASCADE,
    job_attempt integer NOT NULL,
    chunk_id    uuid,
    lane        smallint NOT NULL,
    tries       integer NOT NULL,
    crashes     integer NOT NULL,
    error       jsonb NOT NULL, -- {code, message, hint}
    error_type  text NOT NULL,
    frames      jsonb NOT NULL DEFAULT '[]', -- file:line function, no values
    history     jsonb NOT NULL DEFAULT '[]',
    died_at     timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX dead_letters_job ON dead_letters (job_id);

-- What happened, recorded once, by the trigger below. No foreign key: "deleted" outlives the document.
CREATE TABLE job_events (
    job_id       uuid NOT NULL,
    n            integer NOT NULL,
    attempt      integer NOT NULL,
    status       text NOT NULL, -- a status, or 'deleted'
    progress     smallint NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    PRIMARY KEY (job_id, n)
);

CREATE FUNCTION status_rank(status text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE status WHEN 'pending' THEN 0 WHEN 'processing' THEN 1 WHEN 'chunking' THEN 2
                       WHEN 'embedding' THEN 3 ELSE 4 END
$$;

-- A job only moves forward within an attempt, whoever writes, and its progress never goes back.
CREATE FUNCTION guard_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.attempt < OLD.attempt THEN
        RAISE EXCEPTION 'job % cannot go back to attempt %', OLD.job_id, NEW.attempt;
    ELSIF NEW.attempt = OLD.attempt AND NEW.status <> OLD.status
          AND status_rank(NEW.status) <= status_rank(OLD.status) THEN
        RAISE EXCEPTION 'job % cannot go from % to %', OLD.job_id, OLD.status, NEW.status;
    END IF;
    IF NEW.attempt = OLD.attempt THEN
        NEW.progress := greatest(NEW.progress, OLD.progress);
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER guard_job BEFORE UPDATE ON document_jobs FOR EACH ROW EXECUTE FUNCTION guard_job();

CREATE FUNCTION record_job_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_events (job_id, n, attempt, status, progress)
    SELECT NEW.job_id, coalesce(max(e.n), 0) + 1, NEW.attempt,
           CASE WHEN NEW.deleted_at IS NULL THEN NEW.status ELSE 'deleted' END, NEW.progress
    FROM job_events e WHERE e.job_id = NEW.job_id;
    RETURN NULL;
END $$;
CREATE TRIGGER record_new_job AFTER INSERT ON document_jobs FOR EACH ROW EXECUTE FUNCTION record_job_event();
CREATE TRIGGER record_job_change AFTER UPDATE OF status, attempt, deleted_at ON document_jobs FOR EACH ROW
    WHEN (OLD.status <> NEW.status OR OLD.attempt <> NEW.attempt OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at)
    EXECUTE FUNCTION record_job_event();

-- True if the job still wants what this message asks for.
CREATE FUNCTION wanted(topic text, job_attempt integer, j document_jobs) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE topic
        WHEN 'doc-removals' THEN j.deleted_at IS NOT NULL AND j.purged_at IS NULL
        WHEN 'chunk-processing' THEN j.attempt = job_attempt AND j.status = 'embedding' AND j.deleted_at IS NULL
        ELSE j.attempt = job_attempt AND status_rank(j.status) < 3 AND j.deleted_at IS NULL END
$$;

-- The progress of a job that is embedding.
CREATE FUNCTION embedding_progress(processed integer, total integer) RETURNS smallint LANGUAGE sql IMMUTABLE AS $$
    SELECT least(99, 30 + 69 * processed::bigint / greatest(total, 1))::smallint
$$;

-- The last chunk completes the job. Callers hold the job rows' locks, taken in a statement of its own:
-- otherwise two that settle the last two chunks each miss the other. Returns the jobs it finished.
-- Chunks are counted only when no message is left: before that the job cannot be complete, and counting at
-- each acknowledgement would cost the square of its chunks.
CREATE FUNCTION finish_jobs(ids uuid[]) RETURNS SETOF uuid LANGUAGE sql AS $$
    WITH counted AS (
        SELECT j.job_id, count(*)::int AS n, (count(*) FILTER (WHERE c.status = 'indexed'))::int AS indexed,
               (count(*) FILTER (WHERE c.status = 'failed'))::int AS failed
        FROM document_jobs j JOIN document_chunks c ON c.job_id = j.job_id AND c.attempt = j.attempt
        WHERE j.job_id = ANY(ids) AND j.status = 'embedding' AND j.deleted_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.job_id = j.job_id)
        GROUP BY j.job_id
    )
    UPDATE document_jobs j SET
        processed_chunks = k.n,
        failed_chunks = k.failed,
        progress = 100,
        status = CASE WHEN k.indexed = 0 THEN 'failed'
                      WHEN k.failed > 0 OR j.failed_pages <> '[]' THEN 'partial'
                      ELSE 'completed' END,
        searchable = k.indexed > 0,
        finished_at = now(),
        error = CASE WHEN k.failed > 0 THEN jsonb_build_object(
                         'code', 'chunks_failed',
                         'message', format('%s of %s chunks could not be embedded.', k.failed, k.n),
                         'hint', 'See ''datadistiller dead-letters list''; ''datadistiller retry'' tries them again.')
                     WHEN j.failed_pages <> '[]' THEN jsonb_build_object(
                         'code', 'pages_failed',
                         'message', format('%s of %s pages could not be read.',
                                           jsonb_array_length(j.failed_pages), j.page_count),
                         'hint', 'failed_pages names them; the rest is searchable.') END
    FROM counted k WHERE j.job_id = k.job_id AND j.total_chunks > 0
      AND k.n = j.total_chunks AND k.indexed + k.failed = k.n
    RETURNING j.job_id
$$;
