-- name: retire
-- The file of the version that was under way is nobody's any more.
INSERT INTO retired_objects (key) SELECT next ->> 'object_key' FROM document_jobs
WHERE job_id = %(job_id)s AND next IS NOT NULL ON CONFLICT DO NOTHING;

-- name: clear
-- No version is under way.
UPDATE document_jobs SET next = NULL WHERE job_id = %(job_id)s AND next IS NOT NULL;

-- name: set
-- This one is.
UPDATE document_jobs SET next = %(next)s::jsonb || jsonb_build_object('metadata', %(metadata)s::jsonb)
WHERE job_id = %(job_id)s;

-- name: touch_chunks
-- Tells the index to read what queries do not find again.
INSERT INTO chunk_changes (job_id, chunk_nos)
SELECT c.job_id, array_agg(c.chunk_no) FROM document_chunks c JOIN document_jobs j USING (job_id)
WHERE c.job_id = %(job_id)s AND NOT (j.searchable AND c.version = j.version) GROUP BY c.job_id, c.chunk_no / 128;

-- name: unindex_chunks
-- It must be acknowledged again before it counts for a later attempt.
UPDATE document_chunks c SET status = 'pending' FROM document_jobs j
WHERE c.job_id = %(job_id)s AND j.job_id = c.job_id AND NOT (j.searchable AND c.version = j.version)
  AND c.status = 'indexed';
