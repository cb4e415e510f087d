-- name: unread_without_message
-- Nothing will read these documents.
SELECT j.job_id::text AS example, count(*) OVER () AS total FROM document_jobs j
WHERE j.status IN ('pending', 'processing', 'chunking') AND j.deleted_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM messages m WHERE m.job_id = j.job_id AND m.chunk_id IS NULL AND m.job_attempt = j.attempt)
LIMIT 5;

-- name: chunks_without_message
-- Nothing will embed these chunks.
SELECT c.chunk_id::text AS example, count(*) OVER () AS total
FROM document_chunks c JOIN document_jobs j USING (job_id)
WHERE j.status = 'embedding' AND j.deleted_at IS NULL AND c.status = 'pending' AND c.attempt = j.attempt
  AND NOT EXISTS (SELECT 1 FROM chunk_vectors v JOIN models m ON m.model_id = v.model_id AND m.active
                  WHERE v.chunk_no = c.chunk_no)
  AND NOT EXISTS (SELECT 1 FROM messages m
                  WHERE m.job_id = c.job_id AND m.chunk_id = c.chunk_id AND m.job_attempt = c.attempt)
LIMIT 5;

-- name: forgotten_by_follower
-- All vectors are made, and no change tells the index to read their chunks: nobody will finish these documents.
SELECT j.job_id::text AS example, count(*) OVER () AS total FROM document_jobs j
WHERE j.status = 'embedding' AND j.deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.job_id = j.job_id)
  AND NOT EXISTS (SELECT 1 FROM chunk_changes k WHERE k.job_id = j.job_id)
LIMIT 5;

-- name: unpurged_without_message
-- Nothing will purge these deleted documents.
SELECT j.job_id::text AS example, count(*) OVER () AS total FROM document_jobs j
WHERE j.deleted_at IS NOT NULL AND j.purged_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.job_id = j.job_id AND m.topic = %(removals)s)
  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.job_id = j.job_id AND d.topic = %(removals)s)
LIMIT 5;

-- name: purged_leftovers
-- Deleted and purged, and yet something is there.
SELECT j.job_id::text AS example, count(*) OVER () AS total FROM document_jobs j
WHERE j.purged_at IS NOT NULL AND (EXISTS (SELECT 1 FROM document_chunks c WHERE c.job_id = j.job_id)
                                   OR EXISTS (SELECT 1 FROM document_pages p WHERE p.job_id = j.job_id)
                                   OR EXISTS (SELECT 1 FROM messages m WHERE m.job_id = j.job_id))
LIMIT 5;

-- name: wrong_counts
-- Finished documents whose numbers are not those of their chunks. Completed means all of them indexed, and some.
SELECT j.job_id::text AS example, count(*) OVER () AS total
FROM document_jobs j LEFT JOIN LATERAL (
    SELECT count(*) AS n, count(*) FILTER (WHERE status = 'indexed') AS indexed,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE status = 'pending') AS pending
    FROM document_chunks c WHERE c.job_id = j.job_id AND c.version = j.version) k ON true
WHERE j.deleted_at IS NULL AND j.status IN ('completed', 'partial')
  AND (j.total_chunks IS DISTINCT FROM k.n OR j.processed_chunks <> k.n - k.pending OR j.failed_chunks <> k.failed
       OR (j.status = 'completed' AND (k.indexed = 0 OR k.indexed <> k.n)))
LIMIT 5;

-- name: without_reason
-- Documents that did not end well, and do not say why.
SELECT job_id::text AS example, count(*) OVER () AS total FROM document_jobs
WHERE deleted_at IS NULL AND ((status = 'failed' AND coalesce(error ->> 'code', '') = '')
                              OR (status = 'partial' AND error IS NULL))
LIMIT 5;

-- name: doubled_chunks
-- Two chunks in one place of a version of a document.
SELECT job_id::text AS example, count(*) OVER () AS total FROM document_chunks
GROUP BY job_id, version, ordinal HAVING count(*) > 1 LIMIT 5;

-- name: leftover_versions
-- Documents with chunks of a version that queries do not find, and none is on its way.
SELECT c.job_id::text AS example, count(*) OVER () AS total FROM document_chunks c JOIN document_jobs j USING (job_id)
WHERE j.deleted_at IS NULL AND c.version <> j.version AND j.next IS NULL
  AND j.status NOT IN ('pending', 'processing', 'chunking', 'embedding') -- of one that was called off, until it is read
LIMIT 5;

-- name: untrue_citations
-- Chunks that do not stand on their page, or are longer or shorter than their place. Whether they stand exactly there
-- is not asked: substr() counts its way through the page's characters for each chunk, twenty times the cost of all this.
SELECT c.chunk_id::text AS example, count(*) OVER () AS total
FROM document_chunks c JOIN document_jobs j USING (job_id) LEFT JOIN document_pages p
    ON p.job_id = c.job_id AND p.version = c.version AND p.page = c.page
WHERE j.deleted_at IS NULL
  AND (p.text IS NULL OR char_length(c.text) <> c.end_char - c.start_char OR position(c.text IN p.text) = 0)
LIMIT 5;

-- name: indexed_without_vector
-- Chunks that count as findable and have no vector of the active model.
SELECT c.chunk_id::text AS example, count(*) OVER () AS total
FROM document_chunks c JOIN document_jobs j USING (job_id)
WHERE c.status = 'indexed' AND j.deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM chunk_vectors v JOIN models m ON m.model_id = v.model_id AND m.active
                  WHERE v.chunk_no = c.chunk_no)
LIMIT 5;

-- name: live
-- What belongs in the index, from a number on.
SELECT c.chunk_no, c.chunk_id FROM document_chunks c JOIN document_jobs j USING (job_id)
JOIN chunk_vectors v USING (chunk_no) JOIN models m ON m.model_id = v.model_id AND m.active
WHERE c.chunk_no >= %(first)s AND j.deleted_at IS NULL
  AND (j.searchable AND c.version = j.version OR j.status = 'embedding' AND c.attempt = j.attempt)
ORDER BY c.chunk_no LIMIT %(limit)s;

-- name: announced
-- Those of the chunks that a change tells the index to read again: it may not have done so yet.
SELECT DISTINCT u.no AS chunk_no
FROM chunk_changes k CROSS JOIN LATERAL unnest(k.chunk_nos) u(no) WHERE u.no = ANY(%(numbers)s);

-- name: begin_listing
-- What the object store lists is compared in one statement; the table is this session's own.
CREATE TEMPORARY TABLE listed_objects (key text NOT NULL, size bigint NOT NULL, modified timestamptz NOT NULL);

-- name: list
-- One row per object.
COPY listed_objects (key, size, modified) FROM STDIN;

-- name: end_listing
-- It would otherwise live as long as the session.
DROP TABLE IF EXISTS listed_objects;

-- name: missing_objects
-- Documents that were there before the listing began, of which a file is not in it or has another size.
SELECT f.key, f.size FROM document_jobs j CROSS JOIN LATERAL (
    VALUES (j.object_key, j.file_size), (j.next ->> 'object_key', (j.next ->> 'file_size')::bigint)) f(key, size)
LEFT JOIN listed_objects l ON l.key = f.key
WHERE j.deleted_at IS NULL AND j.created_at < %(begun)s AND f.key IS NOT NULL AND (l.key IS NULL OR l.size <> f.size)
LIMIT %(limit)s;

-- name: orphaned_objects
-- Files older than that which no document has, nor one whose removal is under way, and that were not given up.
SELECT l.key FROM listed_objects l LEFT JOIN document_jobs j ON j.object_key = l.key AND j.deleted_at IS NULL
LEFT JOIN document_jobs n ON n.next ->> 'object_key' = l.key AND n.deleted_at IS NULL
LEFT JOIN retired_objects r ON r.key = l.key
WHERE j.job_id IS NULL AND n.job_id IS NULL AND r.key IS NULL AND l.modified < %(before)s AND NOT EXISTS (
    SELECT 1 FROM document_jobs d WHERE d.deleted_at IS NOT NULL AND d.purged_at IS NULL
    AND l.key LIKE 'uploads/' || d.job_id || '/%%')
LIMIT %(limit)s;

-- name: still_wanted
-- Those of the files that belong to a document.
SELECT object_key AS key FROM document_jobs WHERE object_key = ANY(%(keys)s) AND deleted_at IS NULL
UNION ALL
SELECT next ->> 'object_key' FROM document_jobs WHERE next ->> 'object_key' = ANY(%(keys)s) AND deleted_at IS NULL;

-- name: totals
-- How much was compared.
SELECT (SELECT count(*) FROM document_jobs WHERE deleted_at IS NULL) AS documents,
       (SELECT count(*) FROM document_chunks c JOIN document_jobs j USING (job_id) WHERE j.deleted_at IS NULL) AS chunks;
