-- name: claim
-- Leases due messages, the oldest first. If the first is a suspect (it lost a lease before) it is given out alone;
-- otherwise the suspects among them are left for later. MATERIALIZED, or LIMIT may over-claim.
WITH due AS MATERIALIZED (
    SELECT id, lane, available_at, crashes FROM messages
    WHERE topic = %(topic)s AND available_at <= now() AND lease_token IS NULL
    ORDER BY lane, available_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), first AS (
    SELECT id, crashes FROM due ORDER BY lane, available_at, id LIMIT 1
), chosen AS (
    -- A lost claim is harmless: nobody waits for the disk.
    SELECT due.id FROM due, first, (SELECT set_config('synchronous_commit', 'off', true)) lazily
    WHERE CASE WHEN first.crashes > 0 THEN due.id = first.id ELSE due.crashes = 0 END
)
UPDATE messages m SET lease_token = gen_random_uuid(), lease_boot = %(boot)s,
    lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM chosen WHERE m.id = chosen.id
RETURNING m.id, m.topic, m.job_id, m.job_attempt, m.chunk_id, m.lane, m.tries, m.crashes, m.lease_token;

-- name: claim_ingest
-- The same, and the job is processing from here on. Takes jobs and messages in one statement that waits for
-- neither, so that it cannot deadlock with those that lock the job first. Only small documents of one lane are given
-- out together, see is_small; so no more than one is locked if the first is none: another claim shall find the others.
WITH peek AS MATERIALIZED (
    SELECT m.crashes = 0 AND is_small(j) AS small FROM messages m JOIN document_jobs j USING (job_id)
    WHERE m.topic = %(topic)s AND m.available_at <= now() AND m.lease_token IS NULL
    ORDER BY m.lane, m.available_at, m.id LIMIT 1
), due AS MATERIALIZED (
    SELECT m.id, m.job_id, m.lane, m.available_at, m.crashes, is_small(j) AS small
    FROM messages m JOIN document_jobs j USING (job_id)
    WHERE m.topic = %(topic)s AND m.available_at <= now() AND m.lease_token IS NULL
    ORDER BY m.lane, m.available_at, m.id LIMIT (SELECT CASE WHEN small THEN %(limit)s ELSE 1 END FROM peek)
    FOR UPDATE OF m SKIP LOCKED FOR NO KEY UPDATE OF j SKIP LOCKED
), first AS (
    SELECT id, lane, crashes, small FROM due ORDER BY lane, available_at, id LIMIT 1
), chosen AS (
    SELECT due.id, due.job_id FROM due, first, (SELECT set_config('synchronous_commit', 'off', true)) lazily
    WHERE due.id = first.id
       OR first.crashes = 0 AND first.small AND due.crashes = 0 AND due.small AND due.lane = first.lane
), begun AS (
    UPDATE document_jobs j SET status = 'processing', progress = 1
    FROM chosen WHERE j.job_id = chosen.job_id AND j.status = 'pending'
)
UPDATE messages m SET lease_token = gen_random_uuid(), lease_boot = %(boot)s,
    lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM chosen WHERE m.id = chosen.id
RETURNING m.id, m.topic, m.job_id, m.job_attempt, m.chunk_id, m.lane, m.tries, m.crashes, m.lease_token;

-- name: begin
-- The same by ids, which a broker delivered. Those that are not due are nobody's work; those that are and do not get a
-- lease (enough without them, suspects, locked by somebody at this moment) come back without a token, to be asked for
-- again. So nobody waits here, and nothing is passed over. Found by id alone: no other plan may look good.
WITH due AS MATERIALIZED (
    SELECT id, topic, lane, available_at, crashes FROM messages
    WHERE id = ANY(%(ids)s) AND lease_token IS NULL
    FOR UPDATE SKIP LOCKED
), wanted AS (
    SELECT id, crashes, row_number() OVER (ORDER BY lane, available_at, id) AS n FROM due
    WHERE topic = %(topic)s AND available_at <= now()
), chosen AS (
    SELECT w.id FROM wanted w, wanted first, (SELECT set_config('synchronous_commit', 'off', true)) lazily
    WHERE first.n = 1 AND w.n <= %(limit)s
      AND CASE WHEN first.crashes > 0 THEN w.n = 1 ELSE w.crashes = 0 END
), begun AS (
    UPDATE messages m SET lease_token = gen_random_uuid(), lease_boot = %(boot)s,
        lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
    FROM chosen WHERE m.id = chosen.id
    RETURNING m.id, m.lease_token
)
SELECT m.id, m.topic, m.job_id, m.job_attempt, m.chunk_id, m.lane, m.tries, m.crashes, begun.lease_token
FROM messages m LEFT JOIN begun USING (id)
WHERE m.id = ANY(%(ids)s) AND m.lease_token IS NULL AND m.topic || '' = %(topic)s AND m.available_at <= now();

-- name: begin_ingest
-- The same, and the job is processing from here on; of both nobody waits for a lock, and only small documents are given
-- out together, see claim_ingest.
WITH due AS MATERIALIZED (
    SELECT m.id, m.job_id, m.topic, m.lane, m.available_at, m.crashes, is_small(j) AS small
    FROM messages m JOIN document_jobs j USING (job_id)
    WHERE m.id = ANY(%(ids)s) AND m.lease_token IS NULL
    FOR UPDATE OF m SKIP LOCKED FOR NO KEY UPDATE OF j SKIP LOCKED
), wanted AS (
    SELECT id, job_id, lane, crashes, small, row_number() OVER (ORDER BY lane, available_at, id) AS n FROM due
    WHERE topic = %(topic)s AND available_at <= now()
), chosen AS (
    SELECT w.id, w.job_id FROM wanted w, wanted first, (SELECT set_config('synchronous_commit', 'off', true)) lazily
    WHERE first.n = 1 AND w.n <= %(limit)s
      AND (w.n = 1 OR first.crashes = 0 AND first.small AND w.crashes = 0 AND w.small AND w.lane = first.lane)
), processing AS (
    UPDATE document_jobs j SET status = 'processing', progress = 1
    FROM chosen WHERE j.job_id = chosen.job_id AND j.status = 'pending'
), begun AS (
    UPDATE messages m SET lease_token = gen_random_uuid(), lease_boot = %(boot)s,
        lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
    FROM chosen WHERE m.id = chosen.id
    RETURNING m.id, m.lease_token
)
SELECT m.id, m.topic, m.job_id, m.job_attempt, m.chunk_id, m.lane, m.tries, m.crashes, begun.lease_token
FROM messages m LEFT JOIN begun USING (id)
WHERE m.id = ANY(%(ids)s) AND m.lease_token IS NULL AND m.topic || '' = %(topic)s AND m.available_at <= now();

-- name: overdue
-- What has been due for so long and nobody works on: the most urgent first. When it was last published does not count: a
-- relay that tries in vain marks it again and again.
SELECT id FROM messages
WHERE topic = %(topic)s AND lease_token IS NULL AND available_at <= now() - make_interval(secs => %(seconds)s)
ORDER BY lane, available_at, id LIMIT %(limit)s;

-- name: lock_jobs
-- Of its own: a later statement must see what this lock waited for.
SELECT job_id FROM document_jobs WHERE job_id = ANY(%(jobs)s) ORDER BY job_id FOR NO KEY UPDATE;

-- name: take_done
-- Removes done messages that are still ours and that their job still wants; returns those.
DELETE FROM messages m USING unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) t(id, token), document_jobs j
WHERE m.id = t.id AND m.lease_token = t.token AND j.job_id = m.job_id AND wanted(m.topic, m.job_attempt, j)
RETURNING m.id;

-- name: take_failed
-- The failed ones that are still ours and that their job still wants, locked.
SELECT m.id, m.tries FROM messages m JOIN unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) t(id, token)
    ON m.id = t.id AND m.lease_token = t.token JOIN document_jobs j USING (job_id)
WHERE wanted(m.topic, m.job_attempt, j)
ORDER BY m.id FOR UPDATE OF m;

-- name: store_vectors
-- The vectors of the chunks, and one row for the change feed per job. A vector of another length than the
-- model's becomes NULL, which the table refuses.
WITH vec AS (
    INSERT INTO chunk_vectors (model_id, chunk_no, vector, key, found)
    SELECT %(model)s, c.chunk_no, CASE WHEN octet_length(v.vector) = 2 * (
               SELECT dim FROM models WHERE model_id = %(model)s) THEN v.vector END,
           vector_key(%(model)s::int, indexed_text(c.context, c.text)), v.found
    FROM unnest(%(chunks)s::uuid[], %(vectors)s::bytea[], %(found)s::bool[]) v(chunk_id, vector, found) JOIN document_chunks c USING (chunk_id)
    ON CONFLICT (model_id, chunk_no) DO UPDATE SET vector = excluded.vector, key = excluded.key, found = excluded.found
    RETURNING chunk_no
)
INSERT INTO chunk_changes (job_id, chunk_nos)
SELECT c.job_id, array_agg(c.chunk_no) FROM vec JOIN document_chunks c USING (chunk_no) GROUP BY c.job_id;

-- name: retry
-- Comes again when due; one more failure is on its record.
UPDATE messages SET tries = tries + 1, history = history || %(entry)s, parked_since = NULL, lease_token = NULL,
    lease_boot = NULL, lease_until = NULL, published_at = NULL,
    available_at = clock_timestamp() + make_interval(secs => %(delay)s)
WHERE id = %(id)s;

-- name: park
-- Waits for capacity; no attempt is charged. Its record tells only when that began.
UPDATE messages SET history = CASE WHEN parked_since IS NULL THEN history || %(entry)s ELSE history END,
    parked_since = coalesce(parked_since, now()), lease_token = NULL, lease_boot = NULL, lease_until = NULL,
    published_at = NULL, available_at = clock_timestamp() + make_interval(secs => %(delay)s)
WHERE id = %(id)s AND coalesce(parked_since, now()) > now() - make_interval(secs => %(longest)s)
RETURNING id;

-- name: free
-- Gives back what was not finished; nothing is charged. Never waits: who holds such a row's lock takes it away.
WITH ours AS MATERIALIZED (
    SELECT m.id FROM messages m JOIN unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) t(id, token)
        ON m.id = t.id AND m.lease_token = t.token
    FOR UPDATE OF m SKIP LOCKED
)
UPDATE messages m SET lease_token = NULL, lease_boot = NULL, lease_until = NULL, published_at = NULL,
    available_at = now()
FROM ours WHERE m.id = ours.id;

-- name: bury
-- Message becomes dead letter.
WITH gone AS (DELETE FROM messages WHERE id = %(id)s RETURNING *)
INSERT INTO dead_letters (message_id, topic, job_id, job_attempt, chunk_id, lane, tries, crashes, error, error_type,
                          frames, history)
SELECT id, topic, job_id, job_attempt, chunk_id, lane, tries + %(charged)s, crashes, %(error)s, %(type)s, %(frames)s,
       history || %(entry)s
FROM gone RETURNING job_id, chunk_id, job_attempt, topic;

-- name: fail_chunk
-- A chunk that could not be embedded counts as processed.
WITH failed AS (
    UPDATE document_chunks SET status = 'failed', error = %(error)s
    WHERE chunk_id = %(chunk_id)s AND attempt = %(attempt)s AND status = 'pending' RETURNING job_id
)
UPDATE document_jobs j SET processed_chunks = processed_chunks + 1, failed_chunks = failed_chunks + 1,
    progress = embedding_progress(processed_chunks + 1, total_chunks)
FROM failed WHERE j.job_id = failed.job_id AND j.status = 'embedding';

-- name: fail_job
-- A document that could not be read. One that was searchable before stays so, as partial, with what it has.
SELECT fail_attempt(job_id, %(error)s, %(report)s) FROM document_jobs
WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND deleted_at IS NULL AND status_rank(status) < 4;

-- name: abandon
-- What a process holds without knowing: the answer to its claim was lost with the connection, or its settlement with
-- the primary. Never waits.
WITH unknown AS MATERIALIZED (
    SELECT id FROM messages
    WHERE lease_token IS NOT NULL AND topic = %(topic)s AND lease_boot = %(boot)s AND NOT lease_token = ANY(%(keep)s::uuid[])
    FOR UPDATE SKIP LOCKED
)
UPDATE messages m SET lease_token = NULL, lease_boot = NULL, lease_until = NULL, published_at = NULL,
    available_at = now()
FROM unknown WHERE m.id = unknown.id;

-- name: held
-- Which of these messages a worker process still holds.
SELECT id FROM messages WHERE id = ANY(%(ids)s) AND lease_boot = %(boot)s;

-- name: lost
-- Messages whose worker is gone, silent, or too slow. Nobody could beat while the server itself was away, so
-- silence counts only from a while after its start.
WITH lost AS MATERIALIZED (
    SELECT m.id FROM messages m LEFT JOIN workers w ON w.boot = m.lease_boot
    WHERE m.lease_token IS NOT NULL AND (m.lease_until < now() OR w.boot IS NULL
          OR (w.seen_at < now() - make_interval(secs => %(timeout)s)
              AND pg_postmaster_start_time() < now() - make_interval(secs => %(timeout)s)))
    ORDER BY m.id LIMIT 500 FOR UPDATE OF m SKIP LOCKED
)
UPDATE messages m SET crashes = crashes + 1, lease_token = NULL, lease_boot = NULL, lease_until = NULL,
    published_at = NULL, available_at = now(),
    history = history || jsonb_build_array(jsonb_build_object('at', now(), 'what', 'lease_lost', 'worker', m.lease_boot))
FROM lost WHERE m.id = lost.id
RETURNING m.id, m.topic, m.job_id, m.crashes;

-- name: still_free
-- A message to be buried must not have been given out meanwhile.
SELECT id FROM messages WHERE id = %(id)s AND lease_token IS NULL FOR UPDATE;

-- name: repair_delays
-- The server's clock was set back: what was due at once, or within the longest delay there is, lies in the future.
WITH late AS MATERIALIZED (
    SELECT id FROM messages
    WHERE topic = ANY(%(topics)s) AND lane IN (0, 1) AND lease_token IS NULL
      AND available_at > now() + interval '1 second'
      AND (available_at = created_at OR available_at > now() + make_interval(secs => %(longest)s))
    LIMIT 5000 FOR UPDATE SKIP LOCKED
)
UPDATE messages m SET available_at = now() FROM late WHERE m.id = late.id;

-- name: repair_beats
-- The same for heartbeats; a living worker's is overwritten within seconds anyway.
UPDATE workers SET seen_at = now() WHERE seen_at > now() + interval '1 second';

-- name: depths
-- How much waits, by topic.
SELECT topic,
    count(*) FILTER (WHERE lease_token IS NULL AND available_at <= now()) AS due,
    count(*) FILTER (WHERE lease_token IS NOT NULL) AS leased,
    count(*) FILTER (WHERE lease_token IS NULL AND available_at > now()) AS delayed,
    greatest(0, extract(epoch FROM now() - min(created_at)))::float8 AS oldest_age_seconds
FROM messages GROUP BY topic;

-- name: dead_counts
-- Dead letters by topic.
SELECT topic, count(*) AS dead FROM dead_letters GROUP BY topic;
