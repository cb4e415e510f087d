-- name: lock
-- Who links or unlinks children, and who deletes with them, waits here first: nothing else keeps a child from being
-- deleted with its last parent while another parent is just being given it.
SELECT pg_advisory_xact_lock(hashtext('datadistiller.children'));

-- name: lock_jobs
-- In the order in which all take them.
SELECT job_id FROM document_jobs WHERE job_id = ANY(%(jobs)s) ORDER BY job_id FOR NO KEY UPDATE;

-- name: family
-- These documents and all that lie in them. OFFSET 0 here and below: see migration 12.
WITH RECURSIVE reached(id) AS (
    SELECT unnest(%(jobs)s::uuid[])
    UNION
    SELECT c.child_id FROM reached r
    CROSS JOIN LATERAL (SELECT child_id FROM document_children WHERE parent_id = r.id OFFSET 0) c
    CROSS JOIN LATERAL (SELECT deleted_at FROM document_jobs WHERE job_id = c.child_id OFFSET 0) j
    WHERE j.deleted_at IS NULL
)
SELECT id FROM reached;

-- name: orphans
-- If the documents ``gone`` were deleted: of what lies in them or in the ``loose`` ones, and of these themselves, what
-- nobody uploaded and what lies in nothing that stays. Archives can be made that contain each other.
WITH RECURSIVE reached(id) AS (
    SELECT unnest(%(gone)s::uuid[] || %(loose)s::uuid[])
    UNION
    SELECT c.child_id FROM reached r
    CROSS JOIN LATERAL (SELECT child_id FROM document_children WHERE parent_id = r.id OFFSET 0) c
    CROSS JOIN LATERAL (SELECT deleted_at FROM document_jobs WHERE job_id = c.child_id OFFSET 0) j
    WHERE j.deleted_at IS NULL
), held(id, parent) AS MATERIALIZED (
    SELECT r.id, p.job_id FROM reached r
    CROSS JOIN LATERAL (SELECT parent_id FROM document_children WHERE child_id = r.id OFFSET 0) c
    CROSS JOIN LATERAL (SELECT job_id, deleted_at FROM document_jobs WHERE job_id = c.parent_id OFFSET 0) p
    WHERE p.deleted_at IS NULL
), kept(id) AS (
    (SELECT r.id FROM reached r
     CROSS JOIN LATERAL (SELECT uploaded FROM document_jobs WHERE job_id = r.id OFFSET 0) j
     WHERE j.uploaded AND r.id <> ALL(%(gone)s::uuid[])
     UNION
     SELECT h.id FROM held h JOIN (SELECT parent FROM held EXCEPT SELECT id FROM reached) outside USING (parent)
     WHERE h.id <> ALL(%(gone)s::uuid[]))
    UNION
    SELECT c.child_id FROM kept k
    CROSS JOIN LATERAL (SELECT child_id FROM document_children WHERE parent_id = k.id OFFSET 0) c
    WHERE c.child_id IS NOT NULL AND c.child_id <> ALL(%(gone)s::uuid[])
)
SELECT j.job_id FROM (
    SELECT id FROM reached EXCEPT SELECT id FROM kept EXCEPT SELECT unnest(%(gone)s::uuid[])) o
CROSS JOIN LATERAL (SELECT job_id, deleted_at FROM document_jobs WHERE job_id = o.id OFFSET 0) j
WHERE j.deleted_at IS NULL;

-- name: spent
-- What has been taken out of an upload so far, at whatever depth; but not what an earlier reading of this document took.
SELECT count(*) AS members, coalesce(sum(j.file_size), 0)::bigint AS bytes FROM document_jobs j
WHERE j.root_job_id = %(root)s AND j.deleted_at IS NULL AND j.job_id NOT IN (
    SELECT child_id FROM document_children WHERE parent_id = %(job)s AND child_id IS NOT NULL);

-- name: known
-- Whether the collection has these bytes.
SELECT 1 FROM document_jobs WHERE collection = %(collection)s AND sha256 = %(sha256)s AND deleted_at IS NULL;

-- name: linked
-- What lay in a document when it was read before, in whichever version.
SELECT c.child_id, c.sha256, j.deleted_at IS NOT NULL AS deleted
FROM document_children c JOIN document_jobs j ON j.job_id = c.child_id WHERE c.parent_id = %(parent)s;

-- name: insert_children
-- New documents with their first messages. They wait behind what people upload one by one: an archive may hold many.
WITH added AS (
    INSERT INTO document_jobs (job_id, filename, collection, media_type, file_size, sha256, object_key, lane, metadata,
                               uploaded, depth, root_job_id)
    SELECT u.id, u.filename, p.collection, u.media_type, u.size, u.sha256, u.object_key, %(lane)s,
           coalesce(p.next -> 'metadata', p.metadata),
           false, p.depth + 1, coalesce(p.root_job_id, p.job_id)
    FROM document_jobs p, unnest(%(ids)s::uuid[], %(filenames)s::text[], %(media_types)s::text[], %(sizes)s::bigint[],
                                 %(hashes)s::text[], %(keys)s::text[])
         u(id, filename, media_type, size, sha256, object_key)
    WHERE p.job_id = %(parent)s AND NOT EXISTS (
        SELECT 1 FROM document_jobs s WHERE s.collection = p.collection AND s.sha256 = u.sha256 AND s.deleted_at IS NULL)
    ON CONFLICT (collection, sha256, (CASE WHEN version = 1 THEN 0 ELSE job_no END)) WHERE deleted_at IS NULL DO NOTHING
    RETURNING job_id
)
INSERT INTO messages (topic, job_id, job_attempt, lane) SELECT %(topic)s, job_id, 1, %(lane)s FROM added
RETURNING job_id;

-- name: same_content
-- The documents of the parent's collection with these bytes; the first one, if later versions made them two.
SELECT DISTINCT ON (j.sha256) j.job_id, j.sha256 FROM document_jobs j JOIN document_jobs p ON p.collection = j.collection
WHERE p.job_id = %(parent)s AND j.sha256 = ANY(%(hashes)s) AND j.deleted_at IS NULL
ORDER BY j.sha256, j.job_id = p.job_id, j.job_no;

-- name: unlink
-- What lay in a document by an earlier reading of this version, or in versions that were given up.
DELETE FROM document_children WHERE parent_id = %(parent)s AND (version = %(version)s OR version <> %(searched)s);

-- name: link
-- What lies in it.
INSERT INTO document_children (parent_id, version, ordinal, child_id, path, size, sha256, problem, missed)
SELECT %(parent)s, %(version)s, * FROM unnest(%(ordinals)s::int[], %(children)s::uuid[], %(paths)s::text[], %(sizes)s::bigint[],
                                 %(hashes)s::text[], %(problems)s::jsonb[], %(missed)s::boolean[]);

-- name: given_up
-- Documents of the parent's collection with these bytes that were cancelled.
SELECT j.job_id FROM document_jobs j JOIN document_jobs p ON p.collection = j.collection
WHERE p.job_id = %(parent)s AND j.sha256 = ANY(%(hashes)s) AND j.deleted_at IS NULL AND j.status = 'cancelled';

-- name: restart
-- Children that were cancelled begin again, and with their parent those that failed: a picture without text that comes
-- with each of a thousand mails is not read a thousand times.
WITH again AS (
    UPDATE document_jobs SET attempt = attempt + 1, status = 'pending', progress = 0, error = NULL,
        finished_at = NULL, total_chunks = NULL, processed_chunks = 0, failed_chunks = 0
    WHERE job_id = ANY(%(jobs)s::uuid[] || %(cancelled)s::uuid[]) AND deleted_at IS NULL
      AND (status = 'cancelled' OR status = 'failed' AND job_id = ANY(%(jobs)s))
    RETURNING job_id, attempt, lane
), letters AS (
    DELETE FROM dead_letters d USING again a WHERE d.job_id = a.job_id
), stale AS (
    DELETE FROM messages m USING again a WHERE m.job_id = a.job_id
)
INSERT INTO messages (topic, job_id, job_attempt, lane) SELECT %(topic)s, job_id, attempt, lane FROM again
RETURNING job_id;
