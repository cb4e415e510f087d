"""Requests made from the OpenAPI schema, sound and unsound ones: no 5xx, and every answer is one the schema names."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import schemathesis
import schemathesis.specs.openapi.object_authorization
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode

from datadistiller.api import server
from datadistiller.api.app import create_app
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.settings import Settings
from datadistiller.store.database import Database
from tests import conftest
from tests.acceptance import api_parts

BOOTSTRAP = "bootstrap-0123456789-0123456789-012345"
KEYED = {"require_key": "always", "bootstrap_key": BOOTSTRAP}


def operations(**settings: Any) -> list[APIOperation]:
    """All calls as the schema of a server with these settings has them; it needs nothing else of the server."""
    parts: Any = SimpleNamespace(settings=Settings(**settings), objects=None, jobs=None, keys=None)
    config = schemathesis.Config.from_dict({"generation": {"allow-x00": False}})
    schema = schemathesis.openapi.from_dict(create_app(parts).openapi(), config=config)
    return [found.ok() for found in schema.get_all_operations()]


CASES = [
    pytest.param(operation, mode, id=f"{operation.label} {mode}")
    for operation in operations()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.body or list(operation.iter_parameters())
]
WORDS = st.text("abcdefghijklmnopqrstuvwxyz äöüß漢字", min_size=1).filter(str.strip)
# What a schema cannot say: what bytes are a document, what text is JSON, which cursors were given.
schemathesis.openapi.format("binary", WORDS.map(str.encode))
schemathesis.openapi.format("json-object", st.dictionaries(WORDS, WORDS | st.integers() | st.none()).map(json.dumps))
schemathesis.openapi.format("cursor", st.just(""))


class Background:
    """The API on real parts, in a thread with an event loop of its own."""

    def __init__(self, database_url: str, folder: Path, **settings: Any) -> None:
        self._database_url = database_url
        self._folder = folder
        self._settings = {"worker_timeout_seconds": 9999, **settings}
        self._listener = server.listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()

    async def _run(self) -> None:
        database = Database(self._database_url, name="schema")
        await database.open()
        async with api_parts.api_parts(database, self._folder, OnnxEmbedder(), **self._settings) as parts:
            await api_parts.register_workers(parts)
            await server.serve(parts, self._stop, self._listener)
        await database.close()

    def stop(self) -> None:
        """Stops and waits."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


@contextmanager
def background(postgres_url: str, name: str, **settings: Any) -> Iterator[Background]:
    folder = Path(tempfile.mkdtemp(prefix="dd-schema-"))
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {conftest.TEMPLATE}".encode())
    started = Background(conftest.named(postgres_url, name), folder, **settings)
    yield started
    started.stop()
    shutil.rmtree(folder)
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def running(postgres_url: str) -> Iterator[Background]:
    with background(postgres_url, "dd_schema") as started:
        yield started


@pytest.fixture(scope="module")
def keyed(postgres_url: str) -> Iterator[Background]:
    with background(postgres_url, "dd_schema_keyed", **KEYED) as started:
        yield started


@pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True, scope="module")
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_answers_are_as_the_schema_says(running: Background, operation: APIOperation, mode: GenerationMode) -> None:
    @seed(20261124)
    @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(mode))
    def check(case: Case) -> None:
        if mode is GenerationMode.POSITIVE:
            case.headers.pop("idempotency-key", None)  # a second request with a key is refused, as it should be
        case.call_and_validate(running.url, timeout=60)

    check()


@pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True, scope="module")
@pytest.mark.parametrize("operation", operations(**KEYED), ids=lambda operation: operation.label)
def test_so_they_are_behind_a_key_and_nothing_answers_without(keyed: Background, operation: APIOperation) -> None:
    """Schemathesis also sends each request without the key, and with a wrong one: that must be refused."""

    @seed(20261124)
    @settings(max_examples=2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(GenerationMode.POSITIVE))
    def check(case: Case) -> None:
        case.headers.pop("idempotency-key", None)
        case.call_and_validate(keyed.url, timeout=60, headers={"Authorization": f"Bearer {BOOTSTRAP}"})

    check()
