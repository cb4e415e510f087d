-- Passwords of encrypted files, for as long as the attempt that may need them waits or works. In the clear: there is no
-- key that could be kept apart from them. Not in document_jobs, whose rows are read and copied everywhere.
CREATE TABLE document_passwords (
    job_id   uuid PRIMARY KEY REFERENCES document_jobs ON DELETE CASCADE,
    password text NOT NULL
);

-- Whatever ends an attempt takes its message away: a result, a dead letter, a cancellation, a deletion, a newer attempt.
-- So none of them can forget the password, and it goes in the same transaction.
CREATE FUNCTION forget_password() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM document_passwords WHERE job_id = OLD.job_id;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_password AFTER DELETE ON messages FOR EACH ROW WHEN (OLD.topic = 'doc-ingest-requests')
    EXECUTE FUNCTION forget_password();
