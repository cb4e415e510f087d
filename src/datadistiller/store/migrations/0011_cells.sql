-- Which cells of a sheet a chunk says. Documents that were read before have none until they are read again.

ALTER TABLE document_chunks ADD COLUMN cells bytea; -- 24 bytes a run of rows, see store/cells.py
