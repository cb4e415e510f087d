-- name: unfinished
-- Every document on its way with what it waits for.
SELECT j.job_id, j.filename, j.status, j.attempt, extract(epoch FROM now() - j.created_at)::float8 AS age_seconds,
       j.total_chunks, j.processed_chunks,
       count(m.id) AS messages,
       count(m.lease_token) AS leased,
       min(w.worker_id) AS worker,
       count(m.id) FILTER (WHERE m.lease_token IS NOT NULL AND w.boot IS NULL) AS orphaned,
       count(m.id) FILTER (WHERE m.parked_since IS NOT NULL) AS parked,
       extract(epoch FROM min(m.available_at) - now())::float8 AS due_in_seconds,
       max(m.tries) AS tries, max(m.crashes) AS crashes,
       (array_agg(m.history -> -1 ->> 'message') FILTER (WHERE m.history <> '[]'))[1] AS last_error
FROM (SELECT * FROM document_jobs
      WHERE status IN ('pending', 'processing', 'chunking', 'embedding') AND deleted_at IS NULL
      ORDER BY created_at LIMIT %(limit)s) j
LEFT JOIN messages m USING (job_id) LEFT JOIN workers w ON w.boot = m.lease_boot
GROUP BY j.job_id, j.filename, j.status, j.attempt, j.created_at, j.total_chunks, j.processed_chunks
ORDER BY j.created_at;

-- name: known_keys
-- Keys of documents that are there or whose removal is under way.
SELECT object_key FROM document_jobs WHERE object_key = ANY(%(keys)s) AND deleted_at IS NULL
UNION
SELECT next ->> 'object_key' FROM document_jobs WHERE next ->> 'object_key' = ANY(%(keys)s) AND deleted_at IS NULL
UNION
SELECT DISTINCT k.key FROM unnest(%(keys)s::text[]) k(key) JOIN document_jobs j ON k.key LIKE 'uploads/' || j.job_id || '/%%'
WHERE j.deleted_at IS NOT NULL AND j.purged_at IS NULL;

-- name: retired
-- Files of versions that no document has any more.
SELECT key FROM retired_objects ORDER BY retired_at LIMIT %(limit)s;

-- name: forget_retired
-- They are gone.
DELETE FROM retired_objects WHERE key = ANY(%(keys)s);

-- name: counts
-- Rows by kind.
SELECT (SELECT count(*) FROM document_jobs WHERE deleted_at IS NULL) AS documents,
       (SELECT count(*) FROM document_chunks) AS chunks,
       (SELECT count(*) FROM document_chunks WHERE status = 'indexed') AS indexed_chunks,
       (SELECT count(*) FROM messages) AS messages,
       (SELECT count(*) FROM dead_letters) AS dead_letters,
       (SELECT count(*) FROM document_jobs WHERE deleted_at IS NOT NULL AND purged_at IS NULL) AS unpurged,
       pg_database_size(current_database()) AS database_bytes;

-- name: live_count
-- Chunks the index should hold.
SELECT count(*) AS n FROM document_chunks c JOIN document_jobs j USING (job_id)
JOIN chunk_vectors v USING (chunk_no) JOIN models m ON m.model_id = v.model_id AND m.active
WHERE j.deleted_at IS NULL
  AND (j.searchable AND c.version = j.version OR j.status = 'embedding' AND c.attempt = j.attempt);

-- name: version
-- The version of the server.
SELECT current_setting('server_version') AS version;
