-- name: page
-- Newest first, older than a letter.
SELECT d.*, j.filename FROM dead_letters d JOIN document_jobs j USING (job_id)
WHERE (%(after)s::bigint IS NULL OR d.dead_id < %(after)s) ORDER BY d.dead_id DESC LIMIT %(limit)s;

-- name: get
-- One letter.
SELECT d.*, j.filename FROM dead_letters d JOIN document_jobs j USING (job_id) WHERE d.dead_id = %(id)s;

-- name: discard
-- A person gave it up.
DELETE FROM dead_letters WHERE dead_id = %(id)s RETURNING dead_id;

-- name: lock_job
-- Job before message, as everywhere.
SELECT * FROM document_jobs WHERE job_id = %(job_id)s FOR NO KEY UPDATE;

-- name: requeue
-- The letter becomes a message again, with a fresh record.
WITH gone AS (DELETE FROM dead_letters WHERE dead_id = %(id)s RETURNING *)
INSERT INTO messages (topic, job_id, job_attempt, chunk_id, lane)
SELECT topic, job_id, job_attempt, chunk_id, lane FROM gone RETURNING id;
