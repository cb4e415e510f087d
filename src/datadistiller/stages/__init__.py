"""The write path, in order: accept, ingest, embed, remove. One callable each."""
