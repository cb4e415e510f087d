-- name: versions
-- Which version of each document this attempt reads, and which one queries find.
SELECT job_id, coalesce((next ->> 'version')::int, version) AS version, version AS searched FROM document_jobs
WHERE job_id = ANY(%(jobs)s);

-- name: describe
-- What reading the documents gave; of a version that queries do not find yet it is kept apart, what they find stays as it
-- is. The jobs are embedding from here on. Chunks kept from an earlier attempt count.
UPDATE document_jobs j SET
    title = CASE WHEN j.next IS NULL THEN u.title ELSE j.title END,
    parser = CASE WHEN j.next IS NULL THEN u.parser ELSE j.parser END,
    page_count = CASE WHEN j.next IS NULL THEN u.page_count ELSE j.page_count END,
    failed_pages = CASE WHEN j.next IS NULL THEN u.failed_pages ELSE j.failed_pages END,
    report = CASE WHEN j.next IS NULL THEN u.report ELSE j.report END,
    next = j.next || jsonb_build_object('title', u.title, 'parser', u.parser, 'page_count', u.page_count,
                                        'failed_pages', u.failed_pages, 'report', u.report),
    status = 'embedding', total_chunks = u.total, processed_chunks = k.n, failed_chunks = 0,
    progress = embedding_progress(k.n, u.total)
FROM unnest(%(jobs)s::uuid[], %(versions)s::int[], %(titles)s::text[], %(parsers)s::text[], %(page_counts)s::int[],
            %(failed_pages)s::jsonb[], %(reports)s::jsonb[], %(totals)s::int[])
     u(job_id, version, title, parser, page_count, failed_pages, report, total)
CROSS JOIN LATERAL (SELECT count(*)::int AS n FROM document_chunks c
                    WHERE c.job_id = u.job_id AND c.version = u.version AND c.status = 'indexed') k
WHERE j.job_id = u.job_id;

-- name: drop_pages
-- Pages of earlier attempts, and of versions that were given up.
DELETE FROM document_pages WHERE job_id = %(job_id)s AND (version = %(version)s OR version <> %(searched)s);

-- name: insert_pages
-- The parsed text, and where it stands.
INSERT INTO document_pages (job_id, version, page, label, text, width, height, recognised, lines)
SELECT * FROM unnest(
    %(jobs)s::uuid[], %(versions)s::int[], %(pages)s::int[], %(labels)s::text[], %(texts)s::text[], %(widths)s::float8[], %(heights)s::float8[],
    %(recognised)s::boolean[], %(lines)s::bytea[]);

-- name: drop_changed
-- A chunk of an earlier attempt whose title or heading path changed is another text to the embedder: it goes and comes
-- again under a new number, so that an acknowledgement of the old one cannot count for it.
WITH gone AS (
    DELETE FROM document_chunks c USING unnest(%(chunks)s::uuid[], %(contexts)s::text[]) u(id, context)
    WHERE c.job_id = %(job_id)s AND c.chunk_id = u.id AND c.context <> u.context
    RETURNING c.job_id, c.chunk_no
)
INSERT INTO chunk_changes (job_id, chunk_nos)
SELECT job_id, array_agg(chunk_no) FROM gone GROUP BY job_id, chunk_no / 128;

-- name: drop_chunks
-- Chunks of earlier attempts that this reading does not give again, and of versions that were given up; the index
-- forgets them.
WITH gone AS (
    DELETE FROM document_chunks c
    WHERE c.job_id = %(job_id)s AND (c.version = %(version)s OR c.version <> %(searched)s)
        AND NOT EXISTS (SELECT 1 FROM unnest(%(chunks)s::uuid[]) u(id) WHERE u.id = c.chunk_id)
    RETURNING job_id, chunk_no
)
INSERT INTO chunk_changes (job_id, chunk_nos)
SELECT job_id, array_agg(chunk_no) FROM gone GROUP BY job_id, chunk_no / 128;

-- name: upsert_chunks
-- A chunk that is there already keeps its number, its vector and, if indexed, its status.
INSERT INTO document_chunks (chunk_id, job_id, version, attempt, ordinal, page, start_char, end_char, tokens, context, text,
    cells)
SELECT * FROM unnest(
    %(chunks)s::uuid[], %(jobs)s::uuid[], %(versions)s::int[], %(attempts)s::int[], %(ordinals)s::int[], %(pages)s::int[],
    %(starts)s::int[], %(ends)s::int[], %(tokens)s::int[], %(contexts)s::text[], %(texts)s::text[], %(cells)s::bytea[])
ON CONFLICT (chunk_id) DO UPDATE SET attempt = excluded.attempt, ordinal = excluded.ordinal, page = excluded.page,
    start_char = excluded.start_char, end_char = excluded.end_char, tokens = excluded.tokens, cells = excluded.cells, error = NULL,
    status = CASE WHEN document_chunks.status = 'indexed' THEN 'indexed' ELSE 'pending' END;

-- name: keep_vectors
-- A text that only moved within the document (a page before it can be read now), or that the version before has too, is
-- another chunk, but keeps its vector.
INSERT INTO chunk_vectors (model_id, chunk_no, vector, key, found)
SELECT m.model_id, c.chunk_no, known.vector, known.key, true
FROM models m, document_chunks c CROSS JOIN LATERAL (
    SELECT v.vector, v.key FROM chunk_vectors v
    WHERE v.key = vector_key(m.model_id, indexed_text(c.context, c.text)) LIMIT 1
) known
WHERE m.active AND c.job_id = %(job_id)s AND c.version = %(version)s AND NOT EXISTS (
    SELECT 1 FROM chunk_vectors v WHERE v.model_id = m.model_id AND v.chunk_no = c.chunk_no);

-- name: touch_chunks
-- Chunks that have their vectors already enter the index (again) without a message; its ACK counts them.
INSERT INTO chunk_changes (job_id, chunk_nos)
SELECT c.job_id, array_agg(c.chunk_no)
FROM document_chunks c JOIN chunk_vectors v USING (chunk_no) JOIN models m ON m.model_id = v.model_id AND m.active
WHERE c.job_id = %(job_id)s AND c.version = %(version)s GROUP BY c.job_id, c.chunk_no / 128;

-- name: order_embedding
-- One message per chunk that has no vector yet.
INSERT INTO messages (topic, job_id, job_attempt, chunk_id, lane)
SELECT %(topic)s, c.job_id, c.attempt, c.chunk_id, j.lane
FROM unnest(%(jobs)s::uuid[], %(versions)s::int[]) WITH ORDINALITY u(job_id, version, n)
JOIN document_chunks c USING (job_id, version) JOIN document_jobs j USING (job_id)
WHERE NOT EXISTS (
    SELECT 1 FROM chunk_vectors v JOIN models m ON m.model_id = v.model_id AND m.active WHERE v.chunk_no = c.chunk_no)
ORDER BY u.n, c.ordinal;
