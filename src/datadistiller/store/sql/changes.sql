-- name: since
-- Rows that became visible between two snapshots, however long their transactions were open; the second snapshot
-- is this statement's own if none is given. One row with the snapshot alone if there is nothing.
WITH span AS MATERIALIZED (
    SELECT %(from)s::pg_snapshot AS seen, coalesce(%(to)s::pg_snapshot, pg_current_snapshot()) AS until
), page AS (
    SELECT xid, n, chunk_nos FROM chunk_changes
    WHERE xid >= pg_snapshot_xmin(%(from)s::pg_snapshot) AND (xid, n) > (%(xid)s::xid8, %(n)s)
      AND NOT pg_visible_in_snapshot(xid, (SELECT seen FROM span))
      AND pg_visible_in_snapshot(xid, (SELECT until FROM span))
    ORDER BY xid, n LIMIT %(limit)s
)
SELECT span.until::text AS until, page.xid::text AS xid, page.n, page.chunk_nos
FROM span LEFT JOIN page ON true ORDER BY page.xid, page.n;

-- name: live
-- What belongs in the index, from a number on.
SELECT c.chunk_no, c.chunk_id, c.status = 'pending' AS pending
FROM document_chunks c JOIN document_jobs j USING (job_id)
JOIN chunk_vectors v ON v.chunk_no = c.chunk_no AND v.model_id = %(model)s
WHERE c.chunk_no >= %(first)s AND v.chunk_no >= %(first)s -- said twice: a merge would read all vectors before that
  AND j.deleted_at IS NULL
  AND (j.searchable AND c.version = j.version OR j.status = 'embedding' AND c.attempt = j.attempt)
ORDER BY c.chunk_no LIMIT %(limit)s;

-- name: read
-- The current state of these chunks, if they belong in the index.
SELECT c.chunk_no, c.chunk_id, j.job_no, v.vector, c.context, c.text
FROM document_chunks c JOIN document_jobs j USING (job_id)
JOIN chunk_vectors v ON v.chunk_no = c.chunk_no AND v.model_id = %(model)s
WHERE c.chunk_no = ANY(%(numbers)s) AND j.deleted_at IS NULL
  AND (j.searchable AND c.version = j.version OR j.status = 'embedding' AND c.attempt = j.attempt);

-- name: jobs_of
-- Jobs that wait for these chunks.
SELECT DISTINCT job_id FROM document_chunks WHERE chunk_no = ANY(%(numbers)s) AND status = 'pending';

-- name: lock_jobs
-- Of its own: a later statement must see what this lock waited for.
SELECT job_id FROM document_jobs WHERE job_id = ANY(%(jobs)s) ORDER BY job_id FOR NO KEY UPDATE;

-- name: acknowledge
-- The only place that makes a chunk indexed; it needs a vector, or the index cannot hold it. Progress counts on
-- what changes here; whether the job is complete is counted anew, in finish_jobs.
WITH marked AS (
    UPDATE document_chunks c SET status = 'indexed' FROM document_jobs j
    WHERE c.chunk_no = ANY(%(numbers)s) AND c.status = 'pending' AND j.job_id = c.job_id AND j.attempt = c.attempt
      AND j.status = 'embedding' AND j.deleted_at IS NULL
      AND EXISTS (SELECT 1 FROM chunk_vectors v WHERE v.chunk_no = c.chunk_no)
    RETURNING c.job_id
), counted AS (
    SELECT job_id, count(*)::int AS n FROM marked GROUP BY job_id
)
UPDATE document_jobs j SET processed_chunks = j.processed_chunks + k.n,
    progress = embedding_progress(j.processed_chunks + k.n, j.total_chunks)
FROM counted k WHERE j.job_id = k.job_id RETURNING j.job_id;

-- name: more_to_come
-- Whether vectors are on their way; what is parked or tried again later is not.
SELECT EXISTS (SELECT 1 FROM messages WHERE topic = %(topic)s AND lane IN (0, 1) AND available_at <= now()) AS more;

-- name: trim
-- The feed up to a position that the one follower has passed.
DELETE FROM chunk_changes WHERE xid < pg_snapshot_xmin(%(position)s::pg_snapshot);

-- name: lag
-- How much the follower has not read.
SELECT coalesce(sum(cardinality(chunk_nos)), 0) AS chunks,
       greatest(0, coalesce(max(extract(epoch FROM now() - r.at)), 0))::float8 AS seconds
FROM (SELECT at, chunk_nos FROM chunk_changes
      WHERE xid >= pg_snapshot_xmin(%(position)s::pg_snapshot) AND (xid, n) > (%(xid)s::xid8, %(n)s)
        AND NOT pg_visible_in_snapshot(xid, %(position)s::pg_snapshot)
      ORDER BY xid, n LIMIT 100000) r;
