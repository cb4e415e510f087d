"""Which adapter a URI means. Nothing else imports adapters; an unknown scheme lists the known ones.

Each is imported where it is opened: an embed worker then carries neither the HTTP server nor the search index.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import UUID

import structlog

from datadistiller import cores, embedding, errors, indexing, objects, pipeline, queueing, reranking
from datadistiller.embedding import artifact
from datadistiller.settings import Settings
from datadistiller.store import embedded
from datadistiller.store.messages import Messages
from datadistiller.store.signals import WORK, Signals

if TYPE_CHECKING:
    from datadistiller.queueing.kafka_client import Access

Part = TypeVar("Part")

#: A broker should have brought a message by now, seconds; the relay publishes it again after half of that.
OVERDUE_SECONDS = 60.0


def database_url(settings: Settings) -> str:
    """The connection string the settings mean. ``errors.SetupError`` for a scheme that is not known."""
    if settings.database_url == "embedded:":
        return embedded.url_of(settings.data_dir.resolve() / "postgres")
    if settings.database_url.startswith(("postgresql://", "postgres://")):
        return settings.database_url
    raise _unknown("database", "DATADISTILLER_DATABASE_URL", settings.database_url, "'embedded:', 'postgresql://...'")


async def open_embedder(settings: Settings, threads: int = 1) -> embedding.Embedder:
    """The embedding model on the engine of the settings. Takes a tenth of a second, half of one on ONNX Runtime."""
    card = embedding_card(settings)
    embedder = await asyncio.to_thread(choose_embedder, settings.embedding_engine, threads, card)
    structlog.get_logger().info("embedding_engine", engine=embedder.engine, threads=threads, model=card.name)
    return embedder


def embedding_card(settings: Settings) -> artifact.Card:
    """What is known of the embedding model of the settings without opening it; ``errors.SetupError`` if it is none."""
    return artifact.read_embedder(Path(settings.embedding_model) if settings.embedding_model else artifact.BUNDLED)


def choose_embedder(engine: str = "auto", threads: int = 1, card: artifact.Card | None = None) -> embedding.Embedder:
    """The model of ``card`` (the bundled one) on that engine."""

    def native() -> embedding.Embedder:
        from datadistiller.embedding.native.embedder import NativeEmbedder

        return NativeEmbedder(threads, card)

    def portable() -> embedding.Embedder:
        from datadistiller.embedding.onnx import OnnxEmbedder

        return OnnxEmbedder(threads, card)

    return _chosen(engine, native, portable)


async def open_reranker(settings: Settings) -> reranking.Reranker | None:
    """The reranking model of the settings on their engine, with all cores: somebody waits. None if they name none."""
    if not settings.reranking_model:
        return None
    card = artifact.read_reranker(Path(settings.reranking_model))

    def native() -> reranking.Reranker:
        from datadistiller.reranking.native import NativeReranker

        return NativeReranker(card, cores.allowed())

    def portable() -> reranking.Reranker:
        from datadistiller.reranking.onnx import OnnxReranker

        return OnnxReranker(card, cores.allowed())

    reranker = await asyncio.to_thread(_chosen, settings.embedding_engine, native, portable)
    structlog.get_logger().info("reranking_engine", engine=reranker.engine, model=card.name)
    return reranker


def _chosen(engine: str, native: Callable[[], Part], portable: Callable[[], Part]) -> Part:
    """With ``auto`` ONNX Runtime takes the place of a native engine that cannot be used."""
    if engine != "onnx":
        try:
            return native()
        except errors.SetupError as error:
            if engine == "native":
                raise
            # A damaged model is found again, and refused, by the other engine.
            structlog.get_logger().warning("native_engine_not_used", reason=error.message, hint=error.hint)
    return portable()


@asynccontextmanager
async def open_objects(settings: Settings) -> AsyncIterator[objects.ObjectStore]:
    """The object store of the settings. One that does not answer yet is made ready when it is first written to."""
    store = await _object_store(settings)
    try:
        yield store
    finally:
        await store.close()


async def _object_store(settings: Settings) -> objects.ObjectStore:
    url = settings.objects
    match urlsplit(url).scheme:
        case "file":
            from datadistiller.objects.local import LocalObjects

            return LocalObjects(Path(unquote(urlsplit(url).path)))
        case "s3":
            from datadistiller.objects.s3 import S3Objects
            from datadistiller.wiring.s3 import bucket_of

            store = S3Objects(bucket_of(settings))
            try:
                await store.prepare()
            except errors.Unavailable as error:
                structlog.get_logger().warning("objects_not_ready", reason=error.message)
            return store
    raise _unknown("object store", "DATADISTILLER_OBJECTS_URL", url, "file:///folder or s3://bucket")


def model_in_use(settings: Settings) -> tuple[str, int]:
    """The fingerprint and the dimension of the model that ``open_embedder`` opens, without opening it."""
    card = embedding_card(settings)
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
    password = settings.opensearch_password.get_secret_value()
    access = Access.parse(settings.index_url, settings.opensearch_user, password, ca_file)
    shape = Shape(settings.opensearch_shards, settings.opensearch_replicas)
    index = OpenSearchIndex(access, Content(fingerprint, dim, owner), shape)
    try:
        await index.open()
    except BaseException:
        await index.close()
        raise
    return index


def uses_broker(settings: Settings) -> bool:
    """True if messages go through a broker. ``errors.SetupError`` for a scheme that is not known."""
    if settings.queue_url.startswith("kafka://"):
        return True
    if settings.queue_url != "postgresql:":
        known = "'postgresql:', 'kafka://host:port'"
        raise _unknown("queue", "DATADISTILLER_QUEUE_URL", settings.queue_url, known)
    return False


@asynccontextmanager
async def open_publisher(settings: Settings) -> AsyncIterator[queueing.Publisher | None]:
    """The way to the broker of the settings; None if they name none. Nothing connects before it is used."""
    if not uses_broker(settings):
        yield None
        return
    publisher = _publisher(settings)
    try:
        yield publisher
    finally:
        await publisher.close()


async def open_source(
    settings: Settings, spec: pipeline.StageSpec, messages: Messages, signals: Signals, boot: UUID
) -> queueing.Source:
    """Where the worker of a stage takes its messages from. ``errors.SetupError`` if the broker refuses us."""
    if not uses_broker(settings):
        from datadistiller.queueing.postgres import PostgresSource

        return PostgresSource(
            lambda limit: messages.claim(spec.topic, limit, boot, spec.seconds),
            partial(signals.subscribe, WORK, spec.topic),
        )
    from datadistiller.queueing.kafka import KafkaSource

    await _greet(settings)
    return KafkaSource(
        _kafka(settings),
        spec.topic,
        spec.group,
        lambda ids, limit: messages.begin(spec.topic, ids, limit, boot, spec.seconds),
        lambda: messages.overdue(spec.topic, OVERDUE_SECONDS, spec.batch),
        _publisher(settings),
        spec.dead_letter_topic,
        poll_seconds=settings.kafka_poll_seconds,
    )


async def _greet(settings: Settings) -> None:
    """A broker that does not answer yet may come; one that refuses us will not change its mind."""
    publisher = _publisher(settings)
    try:
        await publisher.check()
    except errors.Unavailable as error:
        structlog.get_logger().warning("waiting_for_queue", reason=error.message, hint=error.hint)
    finally:
        await publisher.close()


def _publisher(settings: Settings) -> queueing.Publisher:
    from datadistiller.queueing.kafka_publisher import KafkaPublisher

    return KafkaPublisher(_kafka(settings), settings.kafka_replication)


def _kafka(settings: Settings) -> Access:
    from datadistiller.queueing.kafka_client import Access

    return Access(
        url=settings.queue_url,
        security=settings.kafka_security,
        mechanism=settings.kafka_sasl,
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        ca_file=settings.kafka_ca_file,
        cert_file=settings.kafka_cert_file,
        key_file=settings.kafka_key_file,
        client_id=f"datadistiller-{settings.worker_name}",
    )


def _unknown(what: str, variable: str, value: str, known: str) -> errors.SetupError:
    scheme = value.split(":")[0][:40]  # the rest may hold a password
    return errors.SetupError(f"'{scheme}' is not a known kind of {what}.", hint=f"Set {variable} to {known}.")
