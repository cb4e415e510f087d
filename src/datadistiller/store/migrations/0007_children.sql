-- What is attached to a document, or packed in it, is a document of its own, linked to the one it lies in.

ALTER TABLE document_jobs
    ADD COLUMN uploaded boolean NOT NULL DEFAULT true, -- by a person; false: it only came with another document
    ADD COLUMN depth smallint NOT NULL DEFAULT 0, -- in how many others it lies
    ADD COLUMN root_job_id uuid; -- the upload it came with
CREATE INDEX document_jobs_root ON document_jobs (root_job_id) WHERE root_job_id IS NOT NULL;

-- The files in a document, in its order. The same bytes are one document, so a child may have several parents.
-- A child that was deleted by itself keeps its link: it does not come again when the parent is read again.
CREATE TABLE document_children (
    parent_id uuid NOT NULL REFERENCES document_jobs ON DELETE CASCADE,
    ordinal   integer NOT NULL,
    child_id  uuid REFERENCES document_jobs ON DELETE CASCADE, -- NULL: it did not become a document
    path      text NOT NULL,
    size      bigint NOT NULL,
    sha256    text NOT NULL,
    problem   jsonb, -- why it did not: {code, message, hint}
    missed    boolean NOT NULL DEFAULT false, -- it should have
    PRIMARY KEY (parent_id, ordinal)
);
CREATE INDEX document_children_child ON document_children (child_id) WHERE child_id IS NOT NULL;

-- The document that another one lies in; the oldest, if there are several.
CREATE FUNCTION parent_of(id uuid) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('job_id', p.job_id, 'filename', p.filename, 'path', c.path)
    FROM document_children c JOIN document_jobs p ON p.job_id = c.parent_id
    WHERE c.child_id = id AND p.deleted_at IS NULL ORDER BY p.job_no, c.ordinal LIMIT 1
$$;

-- The documents that lie in another one, by status.
CREATE FUNCTION children_of(id uuid) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_object_agg(k.status, k.n), '{}') FROM (
        SELECT j.status, count(DISTINCT j.job_id) AS n FROM document_children c JOIN document_jobs j ON j.job_id = c.child_id
        WHERE c.parent_id = id AND j.deleted_at IS NULL GROUP BY j.status) k
$$;
