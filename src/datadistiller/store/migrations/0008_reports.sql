-- What reading a document took and gave. It belongs to the attempt it names: a later one that fails leaves it.
ALTER TABLE document_jobs ADD COLUMN report jsonb;

-- Why an attempt ended so. The job's own error goes with a retry, its dead letters too.
ALTER TABLE job_events ADD COLUMN code text;
CREATE OR REPLACE FUNCTION record_job_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_events (job_id, n, attempt, status, progress, code)
    SELECT NEW.job_id, coalesce(max(e.n), 0) + 1, NEW.attempt,
           CASE WHEN NEW.deleted_at IS NULL THEN NEW.status ELSE 'deleted' END, NEW.progress, NEW.error ->> 'code'
    FROM job_events e WHERE e.job_id = NEW.job_id;
    RETURN NULL;
END $$;

-- Whether the text had a vector already, and when this row was written: so a report needs no counter that somebody
-- would have to keep. The default is set apart, or all that is there would be of now.
ALTER TABLE chunk_vectors ADD COLUMN found boolean NOT NULL DEFAULT false;
ALTER TABLE chunk_vectors ADD COLUMN made_at timestamptz;
ALTER TABLE chunk_vectors ALTER COLUMN made_at SET DEFAULT now();
