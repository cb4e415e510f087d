"""Which adapter a URI means. Nothing else imports adapters; an unknown scheme lists the known ones.

Each is imported where it is opened: an embed worker then carries neither the HTTP server nor the search index.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

from datadistiller import embedding, errors, indexing, objects, pipeline, queueing
from datadistiller.settings import Settings
from datadistiller.store import embedded
from datadistiller.store.messages import Messages
from datadistiller.store.signals import WORK, Signals


def database_url(settings: Settings) -> str:
    """The connection string the settings mean. ``errors.SetupError`` for a scheme that is not known."""
    if settings.database_url == "embedded:":
        return embedded.url_of(settings.data_dir.resolve() / "postgres")
    if settings.database_url.startswith(("postgresql://", "postgres://")):
        return settings.database_url
    raise _unknown("database", "DATADISTILLER_DATABASE_URL", settings.database_url, "'embedded:', 'postgresql://...'")


async def open_embedder() -> embedding.Embedder:
    """The embedding model, one computing thread. Loading it takes about half a second."""
    from datadistiller.embedding.onnx import OnnxEmbedder

    return await asyncio.to_thread(OnnxEmbedder, threads=1)


@asynccontextmanager
async def open_objects(settings: Settings) -> AsyncIterator[objects.ObjectStore]:
    """The object store of the settings."""
    store = objects.ObjectStore(settings.objects)
    try:
        yield store
    finally:
        await store.close()


def model_in_use() -> tuple[str, int]:
    """The fingerprint and the dimension of the model that ``open_embedder`` opens, without opening it."""
    from datadistiller.embedding import artifact

    card = artifact.read()
    return card.fingerprint, card.dim


@asynccontextmanager
async def open_index(settings: Settings, fingerprint: str, dim: int, owner: str = "") -> AsyncIterator[indexing.Index]:
    """The search index of the settings, for the vectors of that model. Who writes to a shared one names its owner."""
    if settings.index_inside:
        from datadistiller.indexing.local import LocalIndex

        folder = settings.data_dir.resolve() / "index"
        index: indexing.Index = LocalIndex(folder, dim, fingerprint, settings.hnsw_threshold)
    elif settings.index_url.startswith(("opensearch://", "opensearch+https://")):
        index = await _open_opensearch(settings, fingerprint, dim, owner)
    else:
        known = "'local:', 'opensearch://...', 'opensearch+https://...'"
        raise _unknown("search index", "DATADISTILLER_INDEX_URL", settings.index_url, known)
    try:
        yield index
    finally:
        await index.close()


async def _open_opensearch(settings: Settings, fingerprint: str, dim: int, owner: str) -> indexing.Index:
    from datadistiller.indexing.opensearch import OpenSearchIndex
    from datadistiller.indexing.opensearch_client import Access
    from datadistiller.indexing.opensearch_layout import Content, Shape

    ca_file = Path(settings.opensearch_ca_file) if settings.opensearch_ca_file else None
    access = Access.parse(settings.index_url, settings.opensearch_user, settings.opensearch_password, ca_file)
    shape = Shape(settings.opensearch_shards, settings.opensearch_replicas, settings.index_commit_ms)
    index = OpenSearchIndex(access, Content(fingerprint, dim, owner), shape)
    try:
        await index.open()
    except BaseException:
        await index.close()
        raise
    return index


def open_source(
    settings: Settings, spec: pipeline.StageSpec, messages: Messages, signals: Signals, boot: UUID
) -> queueing.Source:
    """Where the worker of a stage takes its messages from."""
    if settings.queue_url != "postgresql:":
        raise _unknown("queue", "DATADISTILLER_QUEUE_URL", settings.queue_url, "'postgresql:'")
    from datadistiller.queueing.postgres import PostgresSource

    return PostgresSource(
        lambda limit: messages.claim(spec.topic, limit, boot, spec.seconds),
        partial(signals.subscribe, WORK, spec.topic),
    )


def _unknown(what: str, variable: str, value: str, known: str) -> errors.SetupError:
    scheme = value.split(":")[0][:40]  # the rest may hold a password
    return errors.SetupError(f"'{scheme}' is not a known kind of {what}.", hint=f"Set {variable} to {known}.")
