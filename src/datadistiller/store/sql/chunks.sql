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
-- Findable chunks only: whatever the index still holds, nothing deleted, unfinished or of another version is cited. The
-- best of them with the lines of their pages: the CASE keeps PostgreSQL from unpacking those of the others.
SELECT c.chunk_no, c.chunk_id, c.job_id, c.version, j.filename, j.collection, j.metadata, j.media_type, c.page,
       coalesce(p.label, '') AS page_label, c.start_char, c.end_char, c.text, c.context, c.cells, lies_in.parent,
       p.width, p.height, coalesce(p.recognised, false) AS recognised,
       CASE WHEN row_number() OVER (ORDER BY array_position(%(numbers)s::bigint[], c.chunk_no)) <= %(located)s
            THEN p.lines END AS lines
FROM document_chunks c JOIN document_jobs j USING (job_id)
LEFT JOIN LATERAL (
    SELECT jsonb_build_object('job_id', h.job_id, 'filename', h.filename, 'path', d.path) AS parent
    FROM document_children d JOIN document_jobs h ON h.job_id = d.parent_id
    WHERE d.child_id = c.job_id AND h.deleted_at IS NULL ORDER BY h.job_no, d.version, d.ordinal LIMIT 1
) lies_in ON true
LEFT JOIN document_pages p ON p.job_id = c.job_id AND p.version = c.version AND p.page = c.page
WHERE c.chunk_no = ANY(%(numbers)s) AND c.status = 'indexed' AND c.version = j.version AND j.searchable
  AND j.deleted_at IS NULL;

-- name: any_gone
-- Whether some of these chunks are not there.
SELECT EXISTS (SELECT 1 FROM unnest(%(numbers)s::bigint[]) u(no)
               WHERE NOT EXISTS (SELECT 1 FROM document_chunks c WHERE c.chunk_no = u.no)) AS gone;

-- name: allow_bitmaps
-- The index on metadata can be read as a bitmap only, which our sessions forbid for the sake of the queue.
SET LOCAL enable_bitmapscan = on;
