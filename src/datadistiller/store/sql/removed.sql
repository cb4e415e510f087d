-- name: drop_chunks
-- Vectors go with them.
WITH gone AS (DELETE FROM document_chunks WHERE job_id = ANY(%(jobs)s) RETURNING job_id, chunk_no)
INSERT INTO chunk_changes (job_id, chunk_nos) SELECT job_id, array_agg(chunk_no) FROM gone GROUP BY job_id, chunk_no / 128;

-- name: drop_pages
-- The parsed text.
DELETE FROM document_pages WHERE job_id = ANY(%(jobs)s);

-- name: drop_letters
-- Dead letters of these jobs.
DELETE FROM dead_letters WHERE job_id = ANY(%(jobs)s);

-- name: drop_keys
-- Idempotency keys that led to them.
DELETE FROM idempotency_keys WHERE job_id = ANY(%(jobs)s);

-- name: drop_links
-- What lay in them: names and hashes.
DELETE FROM document_children WHERE parent_id = ANY(%(jobs)s);

-- name: tombstone
-- What stays says that there was something, not what.
UPDATE document_jobs SET filename = '', metadata = '{}', sha256 = '', object_key = '', title = '', error = NULL,
    failed_pages = '[]',
    report = NULL, next = NULL, purged_at = now()
WHERE job_id = ANY(%(jobs)s);
