-- name: drop_keys
-- Idempotency keys that have expired.
DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(secs => %(seconds)s);

-- name: drop_tombstones
-- Tombstones older than a week.
DELETE FROM document_jobs WHERE purged_at < now() - make_interval(days => 7);

-- name: drop_events
-- Events of documents forgotten a month ago.
DELETE FROM job_events e WHERE e.at < now() - make_interval(days => 30)
    AND NOT EXISTS (SELECT 1 FROM document_jobs j WHERE j.job_id = e.job_id);
