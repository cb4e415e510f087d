"""The read path, in order: search (vector and keyword, fused, hydrated from PostgreSQL), then answer with citations."""
