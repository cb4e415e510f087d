-- name: page
-- The parsed text of a page and where it stands.
SELECT p.page, p.label, p.text, p.width, p.height, p.recognised, p.lines
FROM document_pages p JOIN document_jobs j USING (job_id)
WHERE p.job_id = %(job_id)s AND p.page = %(page)s AND j.deleted_at IS NULL;

-- name: chunks
-- The chunks on a page, in their order.
SELECT chunk_id, ordinal, start_char, end_char, status FROM document_chunks
WHERE job_id = %(job_id)s AND page = %(page)s ORDER BY ordinal;

-- name: count
-- How many pages a document has, for whoever asked for another.
SELECT j.status, count(p.page) AS pages FROM document_jobs j LEFT JOIN document_pages p USING (job_id)
WHERE j.job_id = %(job_id)s AND j.deleted_at IS NULL GROUP BY j.status;
