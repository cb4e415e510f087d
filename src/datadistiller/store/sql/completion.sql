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
RETURNING c.parent_id, c.child_id;

-- name: inherit
-- What came with these documents and nobody uploaded has their metadata, at whatever depth it lies.
WITH RECURSIVE inside(id, root, metadata) AS (
    SELECT job_id, job_id, metadata FROM document_jobs WHERE job_id = ANY(%(jobs)s)
    UNION
    SELECT c.child_id, i.root, i.metadata FROM inside i
    CROSS JOIN LATERAL (SELECT child_id FROM document_children WHERE parent_id = i.id OFFSET 0) c
    WHERE c.child_id IS NOT NULL
)
UPDATE document_jobs j SET metadata = i.metadata FROM inside i
WHERE j.job_id = i.id AND j.root_job_id = i.root AND NOT j.uploaded AND j.deleted_at IS NULL AND j.metadata <> i.metadata;
