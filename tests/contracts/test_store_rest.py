"""Connections, migrations, chunks, filters, workers, models, signals, inspection, maintenance."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from structlog.testing import capture_logs

from datadistiller import errors, model, store
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, Done, Failed, Removed
from datadistiller.store.database import Database
from datadistiller.store.maintenance import Maintenance
from datadistiller.store.migrate import migrate
from datadistiller.store.models import Models
from datadistiller.store.signals import CHANGES, JOBS, WORK, Notifier, Signals
from datadistiller.store.statements import Statements
from datadistiller.store.workers import Heartbeat
from datadistiller.wiring.core import heard_by
from tests.contracts.store_kit import ALL_LIMITS, DIM, Kit, reading

MIGRATIONS = Path(store.__file__).parent / "migrations"


async def cut_all(url: str) -> None:
    """The server loses all other connections to the database, as in a restart."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_connections_heal_without_an_error_for_the_next_caller(kit: Kit, database_url: str) -> None:
    await asyncio.gather(*(kit.rows("SELECT pg_sleep(0.01)") for _ in range(5)))
    await cut_all(database_url)
    await asyncio.sleep(0.1)
    assert await kit.rows("SELECT 1 AS one") == [{"one": 1}]


async def test_a_connection_lost_at_work_is_unavailable_and_nothing_was_written(kit: Kit, database_url: str) -> None:
    with pytest.raises(errors.Unavailable):
        async with kit.db.transaction() as conn:
            await conn.execute("DELETE FROM workers")
            await cut_all(database_url)
            await conn.execute("SELECT 1")
    assert len(await kit.rows("SELECT 1 FROM workers")) == 1


async def test_an_absent_server_is_a_sentence_and_the_log_has_the_rest_without_the_password() -> None:
    db = Database("postgresql://someone:hunter2@127.0.0.1:1/db")
    with capture_logs() as logged:
        for _ in range(3):
            with pytest.raises(errors.Unavailable) as caught:
                await db.open()
    assert caught.value.message == "The database does not answer."
    (line,) = logged
    assert (line["database"], line["reason"]) == ("the database 'db' at 127.0.0.1", "OperationalError")
    assert "hunter2" not in str(logged)
    with pytest.raises(errors.SetupError) as refused:
        Database("postgresql://someone:hunter2@[::1:5432/db")
    assert "hunter2" not in str(refused.value)


async def test_a_server_that_takes_no_writes_is_not_the_database(kit: Kit, database_url: str) -> None:
    here = psycopg.sql.Identifier(str(conninfo_to_dict(database_url)["dbname"]))
    async with kit.db.connection() as conn:
        change = psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
        await conn.execute(change.format(here))
    with pytest.raises(errors.Unavailable):
        await Database(database_url).open()
    assert not await asyncio.to_thread(Heartbeat(database_url, kit.boot).beat, 0)
    # Whoever wants no more than to read can say so.
    reader = Database(make_conninfo(database_url, target_session_attrs="any"))
    await reader.open()
    await reader.close()


async def test_more_callers_than_connections_wait_their_turn(database_url: str) -> None:
    db = Database(database_url, max_size=2)
    await db.open()

    async def ask() -> int:
        async with db.connection() as conn:
            await conn.execute("SELECT pg_sleep(0.005)")
            row = await (await conn.execute("SELECT count(*) AS n FROM pg_stat_activity"
                                            " WHERE application_name = 'datadistiller'")).fetchone()  # fmt: skip
        return int(row["n"]) if row else 0

    assert max(await asyncio.gather(*(ask() for _ in range(12)))) <= 2
    await db.close()
    with pytest.raises(errors.Unavailable, match="closed"):
        await ask()


async def test_connections_that_a_burst_left_are_closed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    db = Database(database_url, max_size=6, name="burst")
    await db.open()
    count = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'datadistiller-burst'"

    async def ask(statement: str) -> int:
        async with db.connection() as conn:
            row = await (await conn.execute(statement)).fetchone()
        return int(row["n"]) if row else 0

    await asyncio.gather(*(ask("SELECT 1 AS n FROM pg_sleep(0.2)") for _ in range(6)))
    assert await ask(count) == 6, "they are kept for the next burst"
    monkeypatch.setattr("datadistiller.store.database.IDLE_SECONDS", 0.0)  # instead of waiting for it
    async with asyncio.timeout(30):
        while await ask(count) > 1:  # noqa: ASYNC110 (nobody tells when a server process has ended)
            await asyncio.sleep(0.05)
    await db.close()


async def test_a_cancelled_caller_leaves_a_usable_pool(database_url: str) -> None:
    db = Database(database_url, max_size=1)
    await db.open()

    async def hang() -> None:
        async with db.transaction() as conn:
            await conn.execute("SELECT pg_sleep(30)")

    task = asyncio.create_task(hang())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with db.connection() as conn:
        assert await (await conn.execute("SELECT 1 AS one")).fetchone() == {"one": 1}
    await db.close()


async def test_errors_never_quote_a_row(kit: Kit) -> None:
    for statement in (
        "INSERT INTO models (fingerprint, dim) VALUES ('sesame', 1), ('sesame', 1)",
        "SELECT 'sesame'::uuid",
        "INSERT INTO document_chunks (chunk_id, text) VALUES (gen_random_uuid(), 'sesame')",
    ):
        with pytest.raises(errors.BrokenInvariant) as caught:
            await kit.run(statement)
        assert "sesame" not in str(caught.value)


async def test_migrating_is_repeatable_concurrent_and_refuses_the_future(database: Database, kit: Kit) -> None:
    await asyncio.gather(*(migrate(database) for _ in range(4)))
    applied = [r["version"] for r in await kit.rows("SELECT version FROM schema_migrations ORDER BY version")]
    assert applied == sorted(int(file.name[:4]) for file in MIGRATIONS.glob("*.sql")) and applied
    await kit.run("INSERT INTO schema_migrations (version, name) VALUES (9000, 'later')")
    with pytest.raises(errors.SetupError, match="9000"):
        await migrate(database)


async def test_a_migration_may_take_longer_than_a_person_waits(database: Database, database_url: str) -> None:
    impatient = Database(database_url, limit_seconds=0.2)
    await impatient.open()
    async with database.transaction() as conn:
        await conn.execute(Statements("migrations")["lock"])
        migrating = asyncio.create_task(migrate(impatient))
        await asyncio.sleep(1)
    await migrating
    await impatient.close()


async def test_texts_and_passages(kit: Kit) -> None:
    job = await kit.searchable(["alpha", "beta"], metadata={"year": 2024}, collection="reports")
    rows = await kit.rows("SELECT chunk_id, chunk_no FROM document_chunks ORDER BY ordinal")
    texts = await kit.chunks.texts([rows[0]["chunk_id"], uuid4()], kit.model_id)
    assert {chunk: indexed.text for chunk, indexed in texts.items()} == {rows[0]["chunk_id"]: "Title\nalpha"}
    numbers = [rows[1]["chunk_no"], 10**12, rows[0]["chunk_no"]]
    second, first = await kit.chunks.passages(numbers)
    assert (first.text, second.text, second.page, second.page_label) == ("alpha", "beta", 2, "p2")
    assert (first.job_id, first.collection, first.metadata) == (job.job_id, "reports", {"year": 2024})
    page = await kit.pages.get(job.job_id, first.page)
    assert page.text[first.start : first.end] == first.text


async def test_filters_allow_exactly_the_documents_that_match(kit: Kit) -> None:
    metadata = [{"year": 2019, "kind": "memo"}, {"year": 2022.5, "tags": ["a", "b"]}, {"year": "2022"}, {}]
    made = [await kit.searchable([f"t{n}"], metadata=m, collection="ab"[n % 2]) for n, m in enumerate(metadata)]
    hidden = await kit.searchable(["hidden"], metadata={"year": 2019})
    await kit.jobs.delete(hidden.job_id)
    await kit.accept(metadata={"year": 2019})  # not searchable yet
    rows = await kit.rows("SELECT job_id, job_no FROM document_jobs")
    number = {row["job_id"]: row["job_no"] for row in rows}

    async def found(filter: object, collection: str | None = None) -> list[int]:
        allowed = await kit.chunks.allowed_jobs(collection, filter)  # type: ignore[arg-type]
        assert allowed is not None and allowed.dtype == np.int64 and list(allowed) == sorted(allowed)
        return [n for n, job in enumerate(made) if number[job.job_id] in allowed]

    assert await kit.chunks.allowed_jobs(None, None) is None
    assert await kit.chunks.allowed_jobs(None, {}) is None
    assert await found({}, "a") == [0, 2]
    assert await found({}, "none") == []
    assert await found({"year": 2019}) == [0]
    assert await found({"tags": ["b"]}) == await found({"tags": "b"}) == await found({"tags": ["b", "a"]}) == [1]
    assert await found({"tags": {"$in": ["x", "a"]}}) == [1]
    assert await found({"tags": {"$ne": "a"}}) == [0, 2, 3]
    assert await found({"tags": "ab"}) == await found({"tags": ["a", "c"]}) == await found({"kind": ["memo"]}) == []
    assert await found({"year": {"$gte": 2019, "$lt": 2023}}) == [0, 1]
    assert await found({"year": {"$gt": "2021"}}) == [2], "texts compare with texts"
    assert await found({"year": {"$in": [2019, "2022"]}}) == [0, 2]
    assert await found({"year": {"$in": []}}) == []
    assert await found({"year": {"$ne": 2019}}) == [1, 2, 3]
    assert await found({"year": 2019, "kind": "memo"}, "b") == []


@pytest.mark.parametrize(
    "filter",
    [
        {"a": {"$where": 1}}, {"a": {"$in": 5}}, {"a": {"$gt": None}}, {"a": {"$gt": [1]}}, {"a": {"$lt": True}},
        {"a": "\0"}, {"a\0": 1}, {"a": "\ud800"}, {"a": float("nan")}, {"a": {"$gt": float("inf")}},
        {"a": {"$in": [0] * 1001}}, dict.fromkeys(map(str, range(40)), 1), {"'; DROP TABLE workers --": {"$x": 1}},
    ],
    ids=str,
)  # fmt: skip
async def test_a_bad_filter_is_an_invalid_request(kit: Kit, filter: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidRequest):
        await kit.chunks.allowed_jobs(None, filter)


async def test_values_of_a_filter_are_never_statements(kit: Kit) -> None:
    for text in ("'; DROP TABLE workers --", "%s", "%(x)s", "$1", '"', "\\", "{}", "😀"):
        allowed = await kit.chunks.allowed_jobs(text, {f"a{text}": text, "x": {"$gte": text, "$ne": {text: [text]}}})
        assert allowed is not None and len(allowed) == 0


async def test_workers_live_by_their_heartbeat(kit: Kit, database_url: str) -> None:
    heart = Heartbeat(database_url, kit.boot)
    await kit.run("UPDATE workers SET seen_at = now() - interval '1 minute'")
    assert await kit.workers.alive(8) == []
    assert heart.beat(123)
    (row,) = await kit.workers.alive(8)
    assert (row.boot, row.worker_id, row.role, row.memory_bytes) == (kit.boot, "test", "all", 123)
    await cut_all(database_url)
    assert heart.beat(124) is False
    assert heart.beat(124) is True, "the next beat connects again"
    await kit.workers.remove(kit.boot)
    assert heart.beat(125) is False, "a worker that was taken out must stop"
    heart.close()
    await kit.workers.register(uuid4(), "a", "embed", 77)
    await kit.workers.remove_pid(77)
    await kit.workers.register(uuid4(), "b", "embed", 78)
    await kit.workers.remove_all()
    assert await kit.workers.alive(8) == []


async def test_the_first_model_is_the_only_one(kit: Kit) -> None:
    models = Models(kit.db)
    assert await models.activate("test-model", DIM) == kit.model_id
    with pytest.raises(errors.SetupError, match=r"test-model.*other-model") as caught:
        await models.activate("other-model", DIM)
    assert "ingest the documents again" in caught.value.hint


async def test_signals_reach_who_listens(kit: Kit, database_url: str) -> None:
    listener, notifier = Signals(database_url), Notifier(kit.db)
    await listener.start()
    try:
        with listener.subscribe(WORK, CHUNK_TOPIC) as mine, listener.subscribe(WORK) as any_:
            with listener.subscribe(CHANGES) as ready:
                await asyncio.wait_for(ready.wait(), 10)  # set once it listens
            mine.clear()
            any_.clear()
            await notifier.notify(WORK, [INGEST_TOPIC])
            await asyncio.wait_for(any_.wait(), 10)
            assert not mine.is_set()
            await asyncio.gather(*(notifier.notify(WORK, CHUNK_TOPIC) for _ in range(20)))
            await asyncio.wait_for(mine.wait(), 10)
            mine.clear()
            await cut_all(database_url)
            await asyncio.wait_for(mine.wait(), 10)  # after a reconnect everybody looks
        assert not await listener.wait(JOBS, "nobody", 0.01)
        await notifier.notify(JOBS, [])
    finally:
        await listener.close()
    await kit.db.close()
    await notifier.notify(JOBS, "lost")  # no error: a signal is only a hint


async def test_signals_in_the_background_are_few_and_none_is_lost(
    kit: Kit, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, notifier = Signals(database_url, [WORK]), Notifier(kit.db)
    sent: list[object] = []
    send = Notifier._send

    async def counted(self: Notifier, batch: Sequence[tuple[str, str]]) -> None:
        sent.append(batch)
        await send(self, batch)

    monkeypatch.setattr(Notifier, "_send", counted)
    await listener.start()
    try:
        with listener.subscribe(WORK, "first") as first, listener.subscribe(WORK, "last") as last:
            await asyncio.wait_for(first.wait(), 10)  # set once it listens
            first.clear()
            last.clear()
            for payload in ("first", *["flood"] * 50, "last"):
                notifier.soon(WORK, payload)
                await asyncio.sleep(0)
            await asyncio.wait_for(first.wait(), 10)
            await asyncio.wait_for(last.wait(), 10)
        assert len(sent) <= 3
    finally:
        await listener.close()


@pytest.mark.parametrize(
    ("roles", "heard"),
    [(["api"], {JOBS, CHANGES}), (["ingest"], {WORK}), (["reaper"], set()), (["reaper", "relay"], {WORK}),
     (["index"], {CHANGES}), (["api", "embed"], {WORK, JOBS, CHANGES})],
)  # fmt: skip
def test_a_process_hears_what_its_roles_wait_for(roles: list[str], heard: set[str]) -> None:
    assert set(heard_by(roles)) == heard


async def test_every_unfinished_job_is_explained(kit: Kit) -> None:
    for name in ("leased", "failing", "parked", "crashed"):
        await kit.accept(filename=name)
        (delivery,) = await kit.claim(INGEST_TOPIC)
        if name == "failing":
            await kit.settle(Failed(delivery, errors.TransientError("The store hiccupped.")))
        elif name == "parked":
            await kit.settle(Failed(delivery, errors.CapacityError("The disk is full.", retry_after=60)))
        elif name == "crashed":
            await kit.run("UPDATE messages SET lease_until = now() - interval '1 s' WHERE id = %s", delivery.message_id)
            await kit.messages.reap(8, ALL_LIMITS)
    embedding = (await kit.accept(filename="acknowledging", lane=model.Lane.BULK)).job
    await kit.accept(filename="waiting", lane=model.Lane.BULK)
    for _ in range(2):
        (delivery,) = await kit.claim(INGEST_TOPIC, 1)
        if delivery.job_id == embedding.job_id:
            await kit.settle(Done(delivery, reading(embedding.job_id, ["x"])))
            await kit.embed()
            break
    found = {e.filename: e for e in await kit.inspection.unfinished()}
    assert set(found) >= {"leased", "failing", "parked", "acknowledging", "waiting"}
    assert "by test" in found["leased"].reason
    assert "The store hiccupped." in found["failing"].reason and "next is in" in found["failing"].reason
    assert "The disk is full." in found["parked"].reason
    assert "search index" in found["acknowledging"].reason
    assert "free worker" in found["waiting"].reason
    assert all(e.reason and e.hint and e.age_seconds >= 0 for e in found.values())
    json.dumps([e.reason for e in found.values()])


async def test_object_keys_are_known_until_the_document_is_purged(kit: Kit) -> None:
    kept, gone = (await kit.accept()).job, (await kit.accept()).job
    keys = [kept.object_key, gone.object_key, "uploads/nobody/file"]
    assert await kit.inspection.object_keys_known(keys) == {kept.object_key, gone.object_key}
    await kit.jobs.delete(gone.job_id)
    assert gone.object_key in await kit.inspection.object_keys_known(keys), "its removal is under way"
    (removal,) = await kit.claim("doc-removals")
    assert (await kit.inspection.counts())["unpurged"] == 1
    await kit.settle(Done(removal, Removed()))
    assert await kit.inspection.object_keys_known(keys) == {kept.object_key}
    counts = await kit.inspection.counts()
    assert (counts["documents"], counts["unpurged"], counts["dead_letters"]) == (1, 0, 0)
    assert counts["database_bytes"] > 0 and await kit.inspection.version()


async def test_maintenance_drops_what_has_expired_and_nothing_else(kit: Kit) -> None:
    kept = (await kit.accept(idempotency_key="new", request_hash="h")).job
    old = (await kit.accept(idempotency_key="old", request_hash="h")).job
    await kit.jobs.delete(old.job_id)
    (removal,) = await kit.claim("doc-removals")
    await kit.settle(Done(removal, Removed()))
    await kit.run("INSERT INTO idempotency_keys VALUES ('old', 'h', %s, now() - interval '2 days')", kept.job_id)
    maintenance = Maintenance(kit.db)
    await maintenance.run(86400)
    assert [r["key"] for r in await kit.rows("SELECT key FROM idempotency_keys")] == ["new"]
    assert len(await kit.rows("SELECT 1 FROM document_jobs")) == 2, "a tombstone stays for a week"
    await kit.run("UPDATE document_jobs SET purged_at = now() - interval '8 days' WHERE purged_at IS NOT NULL")
    await kit.run("UPDATE job_events SET at = now() - interval '31 days'")
    await maintenance.run(86400)
    assert [r["job_id"] for r in await kit.rows("SELECT job_id FROM document_jobs")] == [kept.job_id]
    assert {r["job_id"] for r in await kit.rows("SELECT job_id FROM job_events")} == {kept.job_id}


async def test_the_operators_statements_work(kit: Kit) -> None:
    await kit.searchable(["x"])
    jobs = "SELECT job_id, filename, status, progress FROM document_jobs ORDER BY created_at DESC LIMIT 10;"
    assert (await kit.rows(jobs))[0]["status"] == "completed"
    assert (await kit.rows("SELECT chunk_id, job_id, status FROM document_chunks LIMIT 10;"))[0]["status"] == "indexed"
