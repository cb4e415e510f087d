-- Documents that are read in a moment: several of them may be read, and settled, by one worker in one transaction, since
-- none of them keeps the others waiting for long. Text only, as it is: nothing is unpacked, and no more can come of it
-- than its bytes say. A version to come has a file of its own, which is not looked at.
CREATE FUNCTION is_small(j document_jobs) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT j.file_size <= 65536 AND j.media_type IN ('text/plain', 'text/markdown') AND j.next IS NULL
$$;
