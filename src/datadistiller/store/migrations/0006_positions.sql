-- Where the lines of a page stand. Pages that were read before have no geometry until they are read again.

ALTER TABLE document_pages
    ADD COLUMN width double precision, -- of the page as it is shown, in points; of a picture in pixels
    ADD COLUMN height double precision,
    ADD COLUMN recognised boolean NOT NULL DEFAULT false, -- the text was read from a picture
    ADD COLUMN lines bytea; -- 16 bytes a line, see store/lines.py
