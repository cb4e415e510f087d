-- A document may hold ten thousand others, and all of them are written in one transaction: until the tables are analysed
-- the planner knows nothing of them, and joins them every row with every row. OFFSET 0 leaves it one way: by the links,
-- and for each of them by the key. Nothing else is asked in there, or a partial index that is empty yet looks better.
CREATE OR REPLACE FUNCTION parent_of(id uuid) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('job_id', p.job_id, 'filename', p.filename, 'path', c.path)
    FROM (SELECT parent_id, version, ordinal, path FROM document_children WHERE child_id = id OFFSET 0) c
    CROSS JOIN LATERAL (
        SELECT job_id, job_no, filename, deleted_at FROM document_jobs WHERE job_id = c.parent_id OFFSET 0) p
    WHERE p.deleted_at IS NULL ORDER BY p.job_no, c.version, c.ordinal LIMIT 1
$$;

CREATE OR REPLACE FUNCTION children_of(id uuid) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_object_agg(k.status, k.n), '{}') FROM (
        SELECT j.status, count(*) AS n
        FROM (SELECT DISTINCT child_id FROM document_children
              WHERE parent_id = id AND version = (SELECT version FROM document_jobs WHERE job_id = id) OFFSET 0) c
        CROSS JOIN LATERAL (SELECT status, deleted_at FROM document_jobs WHERE job_id = c.child_id OFFSET 0) j
        WHERE j.deleted_at IS NULL GROUP BY j.status) k
$$;

-- Names and hashes of what lay in documents that were deleted: from now on they go when the document is purged.
DELETE FROM document_children c USING document_jobs p WHERE p.job_id = c.parent_id AND p.purged_at IS NOT NULL;
