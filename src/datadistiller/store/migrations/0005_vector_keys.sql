-- So that no text is embedded twice: a vector is found by what it is the vector of. The vectors of live chunks are all
-- there is to find; it goes with its chunk, nothing has to be bounded or evicted.

-- What is embedded of a chunk. Never cut, never trimmed: the key below and the embedder must see the same.
CREATE FUNCTION indexed_text(context text, text text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE context WHEN '' THEN text ELSE context || E'\n' || text END
$$;

-- The model is in the key: a text never finds the vector of another model, and there is one index to find it by,
-- whatever the planner thinks of a table that it knew when it was small.
CREATE FUNCTION vector_key(model_id integer, indexed_text text) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(convert_to(model_id || ' ' || indexed_text, 'UTF8'))
$$;

-- May be NULL: a worker of the version before may still write while this one starts. Such a vector is not found.
ALTER TABLE chunk_vectors ADD COLUMN key bytea;
UPDATE chunk_vectors v SET key = vector_key(v.model_id, indexed_text(c.context, c.text))
FROM document_chunks c WHERE c.chunk_no = v.chunk_no;
CREATE INDEX chunk_vectors_key ON chunk_vectors (key);
