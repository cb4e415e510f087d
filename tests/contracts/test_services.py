"""The servers that development, tests and benchmarks run on: each does its work, survives a kill, and can be lost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import httpx
import obstore
import obstore.store
import psycopg
import pytest

from tests import services
from tools.services import postgres
from tools.services.kafka import KafkaServer
from tools.services.minio import PASSWORD, REGION, USER, MinioServer
from tools.services.opensearch import OpenSearchServer
from tools.services.postgres import PostgresServer
from tools.services.programs import ServiceError
from tools.services.server import running

TOPIC = "things"


async def produce(broker: KafkaServer, *lines: str) -> None:
    text = "".join(f"{line}\n" for line in lines)
    await broker.tool("kafka-console-producer", "--topic", TOPIC, given=text)


async def consume(broker: KafkaServer, count: int) -> list[str]:
    arguments = ("--from-beginning", "--max-messages", str(count), "--timeout-ms", "20000")
    return (await broker.tool("kafka-console-consumer", "--topic", TOPIC, *arguments)).split()


async def create_topic(broker: KafkaServer) -> None:
    await broker.tool("kafka-topics", "--create", "--topic", TOPIC, "--partitions", "3")


def bucket(server: MinioServer, name: str) -> obstore.store.S3Store:
    return obstore.store.S3Store(
        name, endpoint=server.url, access_key_id=USER, secret_access_key=PASSWORD, region=REGION,
        client_options={"allow_http": True},
    )  # fmt: skip


async def search(server: OpenSearchServer, method: str, path: str, body: Any = None) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as client:
        answer = await client.request(method, path, json=body)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


async def index_three(server: OpenSearchServer, index: str) -> None:
    vector = {
        "type": "knn_vector", "dimension": 2,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"},
    }  # fmt: skip
    text = {"type": "text", "analyzer": "english"}
    await search(
        server, "PUT", f"/{index}",
        {"settings": {"index.knn": True}, "mappings": {"properties": {"text": text, "vector": vector}}},
    )  # fmt: skip
    for number, (words, at) in enumerate({"ran home": [1, 0], "many invoices": [0, 1], "a cat": [-1, 0]}.items()):
        await search(
            server, "PUT", f"/{index}/_doc/{number}?version=7&version_type=external&refresh=true",
            {"text": words, "vector": at},
        )  # fmt: skip


def hits(answer: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


async def test_kafka_takes_and_gives_messages(kafka: KafkaServer) -> None:
    await create_topic(kafka)
    await produce(kafka, "one", "two", "three")
    assert sorted(await consume(kafka, 3)) == ["one", "three", "two"]
    with pytest.raises(ServiceError, match="TopicExistsException"):
        await create_topic(kafka)


async def test_kafka_keeps_its_data_when_killed_and_loses_it_when_wiped() -> None:
    async with services.own(KafkaServer) as broker:
        await create_topic(broker)
        await produce(broker, "kept")
        address = broker.bootstrap
        await broker.kill()
        assert not broker.alive()
        await broker.start()
        assert broker.bootstrap == address
        assert await consume(broker, 1) == ["kept"]
        await broker.wipe()
        await broker.start()
        assert (await broker.tool("kafka-topics", "--list")).split() == []


async def test_minio_stores_objects(minio: MinioServer) -> None:
    await minio.create_bucket("things")
    await minio.create_bucket("things")  # harmless
    store = bucket(minio, "things")
    await obstore.put_async(store, "a/b.txt", b"content")
    assert bytes(await (await obstore.get_async(store, "a/b.txt")).bytes_async()) == b"content"
    assert (await minio.request("GET", "/things/a/b.txt")).content == b"content"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert "MinIO Console" in (await client.get(minio.console_url)).text


async def test_minio_keeps_its_data_when_killed_stalls_when_paused_and_loses_it_when_wiped() -> None:
    async with services.own(MinioServer) as server:
        await obstore.put_async(bucket(server, "datadistiller-docs"), "kept", b"1")
        url = server.url
        await server.kill()
        await server.start()
        assert server.url == url
        await server.pause()
        assert server.alive() and not await server.ready()
        await server.resume()
        assert await server.ready()
        assert (await obstore.head_async(bucket(server, "datadistiller-docs"), "kept"))["size"] == 1
        await server.wipe()
        await server.start()
        with pytest.raises(FileNotFoundError):
            await obstore.head_async(bucket(server, "datadistiller-docs"), "kept")


async def test_opensearch_finds_words_and_neighbours(opensearch: OpenSearchServer) -> None:
    await index_three(opensearch, "things")
    words = {"query": {"match": {"text": "invoice"}}}  # the English analyzer: as "invoices"
    assert hits(await search(opensearch, "POST", "/things/_search", words)) == ["1"]
    near = {"size": 2, "query": {"knn": {"vector": {"vector": [1, 0.1], "k": 2}}}}
    assert hits(await search(opensearch, "POST", "/things/_search", near)) == ["0", "1"]
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await search(opensearch, "PUT", "/things/_doc/1?version=6&version_type=external", {"text": "late"})
    gone = {"query": {"term": {"text": "cat"}}}
    assert (await search(opensearch, "POST", "/things/_delete_by_query", gone))["deleted"] == 1


async def test_opensearch_keeps_its_data_when_killed_and_loses_it_when_wiped() -> None:
    async with services.own(OpenSearchServer) as server:
        await index_three(server, "things")
        url = server.url
        await server.kill()
        await server.start()
        assert server.url == url
        assert (await search(server, "GET", "/things/_count"))["count"] == 3
        await server.wipe()
        await server.start()
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await search(server, "GET", "/things/_count")


@pytest.mark.parametrize("name", [postgres.OLDEST, postgres.NEWEST])
async def test_postgresql_keeps_its_data_when_killed_and_loses_it_when_wiped(name: str) -> None:
    async with services.own(partial(PostgresServer, name=name)) as server:
        major = (server.data / "PG_VERSION").read_text().strip()
        async with await psycopg.AsyncConnection.connect(server.url) as conn:
            row = await (await conn.execute("SELECT version()")).fetchone()
            assert row is not None and row[0].startswith(f"PostgreSQL {major}")
            await conn.execute("CREATE TABLE kept ()")
        with pytest.raises(psycopg.OperationalError, match="password"):
            await psycopg.AsyncConnection.connect(server.url.replace(":datadistiller@", ":wrong@"))
        url = server.url
        await server.kill()
        await server.start()
        assert server.url == url and await has_table(server)
        await server.wipe()
        await server.start()
        assert not await has_table(server)


async def has_table(server: PostgresServer) -> bool:
    async with await psycopg.AsyncConnection.connect(server.url) as conn:
        row = await (await conn.execute("SELECT to_regclass('kept') IS NOT NULL")).fetchone()
        assert row is not None
        return bool(row[0])


async def test_a_server_that_does_not_start_says_why() -> None:
    with services.temporary_folder() as folder:
        server = PostgresServer(folder / "server", settings={"max_connections": "none"})
        with pytest.raises(ServiceError, match=r'does not start(.|\n)*"max_connections": "none"'):
            await server.start()
        assert not server.alive()


async def test_another_object_on_the_folder_finds_and_stops_the_server() -> None:
    with services.temporary_folder() as folder:
        first = PostgresServer(folder / "server")
        async with running(first):
            second = PostgresServer(folder / "server")
            assert second.ports == first.ports and second.alive() and await second.ready()
            await second.start()  # it runs
            assert second.process is not None and first.process is not None
            assert second.process.pid == first.process.pid
            await second.stop()
            assert not first.alive()


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with services.own(PostgresServer) as server:
        other = PostgresServer(tmp_path / "server", server.ports)
        with pytest.raises(ServiceError, match=f"cannot listen on port {server.ports['client']}"):
            await other.start()
