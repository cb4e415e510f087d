-- name: switching
-- Whether one of these documents has a version to come, and files in it or in the one before.
SELECT 1 FROM document_jobs j WHERE j.job_id = ANY(%(jobs)s) AND j.next IS NOT NULL
  AND EXISTS (SELECT 1 FROM document_children c WHERE c.parent_id = j.job_id) LIMIT 1;

-- name: finish
-- Jobs whose last chunk this was.
SELECT finish_jobs(%(jobs)s) AS job_id;

-- name: unlink
-- What lay in versions that these documents do not have any more.
DELETE FROM document_children c USING document_jobs j
WHERE c.parent_id = ANY(%(jobs)s) AND j.job_id = c.parent_id AND j.next IS NULL AND c.version <> j.version
RETURNING c.child_id;
