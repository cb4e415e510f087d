"""DataDistiller: a document pipeline. Drop documents in, ask questions, get answers with exact citations."""

__version__ = "2.0.0.dev0"
