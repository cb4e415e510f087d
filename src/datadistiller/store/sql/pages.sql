-- name: page
-- The parsed text of a page and where it stands.
SELECT p.page, p.label, p.text, p.width, p.height, p.recognised, p.lines
FROM document_pages p JOIN document_jobs j USING (job_id, version)
WHERE p.job_id = %(job_id)s AND p.page = %(page)s AND j.deleted_at IS NULL;

-- name: chunks
-- The chunks on a page, in their order, with the cells they say.
SELECT c.chunk_id, c.ordinal, c.start_char, c.end_char, c.status, c.cells
FROM document_chunks c JOIN document_jobs j USING (job_id, version)
WHERE c.job_id = %(job_id)s AND c.page = %(page)s ORDER BY c.ordinal;

-- name: count
-- How many pages a document has, for whoever asked for another.
SELECT j.status, count(p.page) AS pages FROM document_jobs j LEFT JOIN document_pages p USING (job_id, version)
WHERE j.job_id = %(job_id)s AND j.deleted_at IS NULL GROUP BY j.status;
