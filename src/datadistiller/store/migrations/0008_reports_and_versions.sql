-- What reading a document took and gave. It belongs to the attempt it names: a later one that fails leaves it.
ALTER TABLE document_jobs ADD COLUMN report jsonb;

-- Why an attempt ended so. The job's own error goes with a retry, its dead letters too.
ALTER TABLE job_events ADD COLUMN code text;
CREATE OR REPLACE FUNCTION record_job_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_events (job_id, n, attempt, status, progress, code)
    SELECT NEW.job_id, coalesce(max(e.n), 0) + 1, NEW.attempt,
           CASE WHEN NEW.deleted_at IS NULL THEN NEW.status ELSE 'deleted' END, NEW.progress, NEW.error ->> 'code'
    FROM job_events e WHERE e.job_id = NEW.job_id;
    RETURN NULL;
END $$;

-- Whether the text had a vector already, and when this row was written: so a report needs no counter that somebody
-- would have to keep. The default is set apart, or all that is there would be of now.
ALTER TABLE chunk_vectors ADD COLUMN found boolean NOT NULL DEFAULT false;
ALTER TABLE chunk_vectors ADD COLUMN made_at timestamptz;
ALTER TABLE chunk_vectors ALTER COLUMN made_at SET DEFAULT now();

-- Versions of a document. `version` is the one that queries find; `next` is a newer one that they do not find yet: on
-- its way, or failed. {version, filename, media_type, file_size, sha256, object_key, metadata}, and once it is read
-- {title, parser, page_count, failed_pages, report}. Status, counts and error are those of the attempt, as ever.
ALTER TABLE document_jobs ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE document_jobs ADD COLUMN next jsonb;
ALTER TABLE document_chunks ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE document_pages ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE document_pages DROP CONSTRAINT document_pages_pkey;
ALTER TABLE document_pages ADD PRIMARY KEY (job_id, version, page);

-- Which files lie in a document is said of each version, too: what only lies in the one before goes at the switch.
ALTER TABLE document_children ADD COLUMN version integer NOT NULL DEFAULT 1; -- of the parent
ALTER TABLE document_children DROP CONSTRAINT document_children_pkey;
ALTER TABLE document_children ADD PRIMARY KEY (parent_id, version, ordinal);

-- As before; a document that only lies in a version to come has its parent at once.
CREATE OR REPLACE FUNCTION parent_of(id uuid) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('job_id', p.job_id, 'filename', p.filename, 'path', c.path)
    FROM document_children c JOIN document_jobs p ON p.job_id = c.parent_id
    WHERE c.child_id = id AND p.deleted_at IS NULL ORDER BY p.job_no, c.version, c.ordinal LIMIT 1
$$;

-- As before, of the version that queries find.
CREATE OR REPLACE FUNCTION children_of(id uuid) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_object_agg(k.status, k.n), '{}') FROM (
        SELECT j.status, count(DISTINCT j.job_id) AS n
        FROM document_children c JOIN document_jobs p ON p.job_id = c.parent_id AND p.version = c.version
        JOIN document_jobs j ON j.job_id = c.child_id
        WHERE c.parent_id = id AND j.deleted_at IS NULL GROUP BY j.status) k
$$;

-- Same bytes in the same collection are one document, as long as nobody gives one of two documents the other's bytes.
DROP INDEX document_jobs_content;
CREATE UNIQUE INDEX document_jobs_content
    ON document_jobs (collection, sha256, (CASE WHEN version = 1 THEN 0 ELSE job_no END)) WHERE deleted_at IS NULL;

-- Files of versions that no document has any more. The sweeper takes them.
CREATE TABLE retired_objects (
    key        text PRIMARY KEY,
    retired_at timestamptz NOT NULL DEFAULT now()
);

-- An attempt that gave nothing to search. What was searchable before stays so, and the document is partial for as long
-- as it is not what was asked for; its counts are then those of what is searchable.
CREATE FUNCTION fail_attempt(id uuid, problem jsonb, noted jsonb) RETURNS void LANGUAGE sql AS $$
    UPDATE document_jobs j SET
        status = CASE WHEN searchable THEN 'partial' ELSE 'failed' END,
        error = CASE WHEN searchable AND next IS NOT NULL
                     THEN problem || jsonb_build_object('message', format('Version %s: %s Version %s stays searchable.',
                                                        next ->> 'version', problem ->> 'message', version))
                     ELSE problem END,
        report = CASE WHEN next IS NULL THEN coalesce(noted, report) ELSE report END,
        next = CASE WHEN noted IS NULL THEN next ELSE next || jsonb_build_object('report', noted) END,
        progress = 100, finished_at = now(), total_chunks = CASE WHEN searchable THEN k.n ELSE total_chunks END,
        processed_chunks = CASE WHEN searchable THEN k.n - k.pending ELSE processed_chunks END,
        failed_chunks = CASE WHEN searchable THEN k.failed ELSE failed_chunks END
    FROM (SELECT count(*) AS n, count(*) FILTER (WHERE c.status = 'pending') AS pending,
                 count(*) FILTER (WHERE c.status = 'failed') AS failed
          FROM document_chunks c JOIN document_jobs d USING (job_id) WHERE d.job_id = id AND c.version = d.version) k
    WHERE j.job_id = id;
$$;

-- The version that is next becomes the one that queries find, and nothing is left of others: all at the same commit.
-- The index learns of it afterwards; what it still finds of others is dropped by whoever looks it up. Who calls this
-- unlinks and deletes what only lay in the version before, in the same transaction: store/completion.py.
CREATE FUNCTION switch_version(id uuid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO retired_objects (key) SELECT object_key FROM document_jobs WHERE job_id = id ON CONFLICT DO NOTHING;
    UPDATE document_jobs SET
        version = (next ->> 'version')::int, filename = next ->> 'filename', media_type = next ->> 'media_type',
        file_size = (next ->> 'file_size')::bigint, sha256 = next ->> 'sha256', object_key = next ->> 'object_key',
        metadata = next -> 'metadata', title = next ->> 'title', parser = next ->> 'parser',
        page_count = (next ->> 'page_count')::int, failed_pages = next -> 'failed_pages', report = next -> 'report',
        next = NULL
    WHERE job_id = id;
    DELETE FROM document_pages p USING document_jobs j
    WHERE p.job_id = id AND j.job_id = id AND p.version <> j.version;
    WITH gone AS (
        DELETE FROM document_chunks c USING document_jobs j
        WHERE c.job_id = id AND j.job_id = id AND c.version <> j.version
        RETURNING c.job_id, c.chunk_no
    )
    INSERT INTO chunk_changes (job_id, chunk_nos)
    SELECT job_id, array_agg(chunk_no) FROM gone GROUP BY job_id, chunk_no / 128;
$$;

-- As before; a document whose files could not all be taken in is partial, and a version takes over if anything of it is
-- searchable. Chunks of the version before are of an earlier attempt, so they do not count.
CREATE OR REPLACE FUNCTION finish_jobs(ids uuid[]) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    job record;
    problem jsonb;
BEGIN
    FOR job IN
        SELECT j.job_id, j.searchable, j.next IS NOT NULL AS versioned, k.n, k.indexed, k.failed,
               coalesce(j.next -> 'failed_pages', j.failed_pages) AS failed_pages,
               coalesce((j.next ->> 'page_count')::int, j.page_count) AS page_count, d.missed, d.members
        FROM document_jobs j CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE d.missed) AS missed, count(*) AS members FROM document_children d
            WHERE d.parent_id = j.job_id AND d.version = coalesce((j.next ->> 'version')::int, j.version)) d
        CROSS JOIN LATERAL (
            SELECT count(*)::int AS n, (count(*) FILTER (WHERE c.status = 'indexed'))::int AS indexed,
                   (count(*) FILTER (WHERE c.status = 'failed'))::int AS failed
            FROM document_chunks c WHERE c.job_id = j.job_id AND c.attempt = j.attempt) k
        WHERE j.job_id = ANY(ids) AND j.status = 'embedding' AND j.deleted_at IS NULL AND j.total_chunks > 0
          AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.job_id = j.job_id)
          AND k.n = j.total_chunks AND k.indexed + k.failed = k.n
    LOOP
        problem := CASE
            WHEN job.failed > 0 THEN jsonb_build_object(
                'code', 'chunks_failed',
                'message', format('%s of %s chunks could not be embedded.', job.failed, job.n),
                'hint', 'See ''datadistiller dead-letters list''; ''datadistiller retry'' tries them again.')
            WHEN job.failed_pages <> '[]' THEN jsonb_build_object(
                'code', 'pages_failed',
                'message', format('%s of %s pages could not be read.', jsonb_array_length(job.failed_pages), job.page_count),
                'hint', 'failed_pages names them; the rest is searchable.')
            WHEN job.missed > 0 THEN jsonb_build_object(
                'code', 'members_missed',
                'message', format('%s of the %s files in it could not be taken in.', job.missed, job.members),
                'hint', 'GET /api/v2/documents/{job_id}/children says which and why; the rest is searchable.') END;
        IF job.indexed = 0 AND job.versioned AND job.searchable THEN
            PERFORM fail_attempt(job.job_id, problem, NULL);
        ELSE
            UPDATE document_jobs j SET
                processed_chunks = job.n, failed_chunks = job.failed, progress = 100,
                status = CASE WHEN job.indexed = 0 THEN 'failed' WHEN problem IS NULL THEN 'completed' ELSE 'partial' END,
                searchable = job.indexed > 0, finished_at = now(), error = problem
            WHERE j.job_id = job.job_id;
            IF job.indexed > 0 AND job.versioned THEN
                PERFORM switch_version(job.job_id);
            END IF;
        END IF;
        RETURN NEXT job.job_id;
    END LOOP;
END $$;
