-- name: document
-- A document with what was noted when its newest version was read.
SELECT coalesce(next ->> 'filename', filename) AS filename, coalesce((next ->> 'version')::int, version) AS version,
       status, attempt, error, CASE WHEN next IS NULL THEN report ELSE next -> 'report' END AS report,
       CASE WHEN next IS NULL THEN failed_pages ELSE coalesce(next -> 'failed_pages', '[]') END AS failed_pages
FROM document_jobs
WHERE job_id = %(job_id)s AND deleted_at IS NULL;

-- name: vectors
-- How the document's chunks came by their vectors of the active model, and when the last one did.
SELECT count(*) FILTER (WHERE NOT v.found) AS computed, count(*) FILTER (WHERE v.found) AS found,
       coalesce(sum(octet_length(v.vector)), 0)::bigint AS bytes, max(v.made_at) AS made_at
FROM document_chunks c JOIN chunk_vectors v USING (chunk_no) JOIN models m ON m.model_id = v.model_id AND m.active
WHERE c.job_id = %(job_id)s AND c.version = %(version)s;

-- name: events
-- What happened to it, the latest part if that is much.
SELECT attempt, status, code, at FROM job_events WHERE job_id = %(job_id)s ORDER BY n DESC LIMIT 1000;
