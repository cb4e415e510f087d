-- name: drop_keys
-- Idempotency keys that have expired.
DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(secs => %(seconds)s);

-- name: drop_tombstones
-- Tombstones older than a week; but not of what still lies in a document, or the next reading of that would bring it back.
DELETE FROM document_jobs j WHERE purged_at < now() - make_interval(days => 7)
    AND NOT EXISTS (SELECT 1 FROM document_children c WHERE c.child_id = j.job_id);

-- name: drop_events
-- Events of documents forgotten a month ago.
DELETE FROM job_events e WHERE e.at < now() - make_interval(days => 30)
    AND NOT EXISTS (SELECT 1 FROM document_jobs j WHERE j.job_id = e.job_id);
