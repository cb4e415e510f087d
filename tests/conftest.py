"""Real servers for the tests.

PostgreSQL, the wheel's and the oldest one installed, with a fresh database per test; Kafka, MinIO and OpenSearch, each
started when the first test wants it. A test that kills or wipes takes a server of its own: ``tests.services.own``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from datadistiller.store.database import Database
from datadistiller.store.embedded import EmbeddedPostgres
from datadistiller.store.migrate import migrate
from tests import services
from tests.contracts.store_kit import Kit
from tools.services.kafka import KafkaServer
from tools.services.minio import MinioServer
from tools.services.opensearch import OpenSearchServer
from tools.services.postgres import system_binaries

TEMPLATE = "dd_template"


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Callable[[str], str]]:
    """Starts a server when it is first asked for, and gives its URL: tests of both majors may come in any order."""
    started: dict[str, EmbeddedPostgres] = {}
    with tempfile.TemporaryDirectory(prefix="dd-pg-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)

        def url_of(major: str) -> str:
            if major not in started:
                server = EmbeddedPostgres(Path(name) / major / "postgres", binaries_of(major))
                asyncio.run(server.start())
                started[major] = server
                asyncio.run(make_template(server.url))
            return started[major].url

        try:
            yield url_of
        finally:
            for server in started.values():
                asyncio.run(server.stop())


def binaries_of(major: str) -> Path | None:
    """Where the programs are: the wheel's (None), or those of the oldest server installed."""
    if major == "wheel":
        return None
    servers = system_binaries()
    if not servers:
        reason = "no PostgreSQL under /usr/lib/postgresql"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return servers[0]


@pytest.fixture(scope="session", params=["wheel", "oldest"])
def postgres_url(request: pytest.FixtureRequest, postgres_servers: Callable[[str], str]) -> str:
    """The URL of a running server with a migrated template database."""
    return postgres_servers(request.param)


async def make_template(url: str) -> None:
    """A migrated database that each test's is copied from."""
    with psycopg.connect(url, autocommit=True) as conn:
        # A database per test is made of copies and checkpoints; no test here cuts the power.
        for setting in (b"fsync = off", b"full_page_writes = off"):
            conn.execute(b"ALTER SYSTEM SET " + setting)
        conn.execute("SELECT pg_reload_conf()")
        conn.execute(f"CREATE DATABASE {TEMPLATE}".encode())
    db = Database(named(url, TEMPLATE))
    await db.open()
    try:
        await migrate(db)
    finally:
        await db.close()


def named(url: str, database: str) -> str:
    """The same server, another database."""
    return url.replace("/datadistiller?", f"/{database}?")


_numbers = itertools.count()


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    name = f"dd_test_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
    yield named(postgres_url, name)
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
async def kit(database: Database) -> Kit:
    """All parts of the store on a fresh database, with one worker and one model."""
    return await Kit(database).begin()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open ``Database`` on a fresh, migrated database."""
    db = Database(database_url, max_size=12, name="test")
    await db.open()
    yield db
    await db.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A running broker, shared: give topics names of your own."""
    yield from services.for_session(KafkaServer)


@pytest.fixture(scope="session")
def minio() -> Iterator[MinioServer]:
    """A running S3 server, shared: give buckets names of your own."""
    yield from services.for_session(MinioServer)


@pytest.fixture(scope="session")
def opensearch() -> Iterator[OpenSearchServer]:
    """A running OpenSearch, shared: give indexes names of your own."""
    yield from services.for_session(OpenSearchServer)
