-- name: texts
-- What is embedded, and the vector of that text under this model if any chunk has it. LATERAL: one look into the index
-- per chunk, however many have the same text.
SELECT c.chunk_id, indexed_text(c.context, c.text) AS text, known.vector
FROM document_chunks c LEFT JOIN LATERAL (
    SELECT v.vector FROM chunk_vectors v
    WHERE v.key = vector_key(%(model)s::int, indexed_text(c.context, c.text)) LIMIT 1
) known ON true
WHERE c.chunk_id = ANY(%(chunks)s);

-- name: passages
-- Findable chunks only: whatever the index still holds, nothing deleted or unfinished is cited.
SELECT c.chunk_no, c.chunk_id, c.job_id, j.filename, j.collection, j.metadata, c.page,
       coalesce(p.label, '') AS page_label, c.start_char, c.end_char, c.text, c.context,
       lies_in.parent
FROM document_chunks c JOIN document_jobs j USING (job_id)
LEFT JOIN LATERAL (
    SELECT jsonb_build_object('job_id', p.job_id, 'filename', p.filename, 'path', d.path) AS parent
    FROM document_children d JOIN document_jobs p ON p.job_id = d.parent_id
    WHERE d.child_id = c.job_id AND p.deleted_at IS NULL ORDER BY p.job_no, d.ordinal LIMIT 1
) lies_in ON true
LEFT JOIN document_pages p ON p.job_id = c.job_id AND p.page = c.page
WHERE c.chunk_no = ANY(%(numbers)s) AND c.status = 'indexed' AND j.searchable AND j.deleted_at IS NULL;

-- name: page
-- The parsed text of a page.
SELECT p.page, p.label, p.text FROM document_pages p JOIN document_jobs j USING (job_id)
WHERE p.job_id = %(job_id)s AND p.page = %(page)s AND j.deleted_at IS NULL;

-- name: allow_bitmaps
-- The index on metadata can be read as a bitmap only, which our sessions forbid for the sake of the queue.
SET LOCAL enable_bitmapscan = on;
