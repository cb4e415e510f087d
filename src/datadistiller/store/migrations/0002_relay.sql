-- For the relay. Without a broker the first two are empty or nearly so, and claims measured no dearer.

-- The window: what was published and is not begun. Counted at each publication.
CREATE INDEX messages_window ON messages (topic, published_at) WHERE published_at IS NOT NULL AND lease_token IS NULL;
CREATE INDEX dead_letters_unpublished ON dead_letters (dead_id) WHERE published_at IS NULL;
-- Two rows per document: its end, and its beginning.
CREATE INDEX job_events_unpublished ON job_events (at, job_id, n)
    WHERE published_at IS NULL AND status IN ('pending', 'completed', 'failed', 'partial', 'cancelled', 'deleted');
