"""The embedded server: new folders, awkward paths, and everything an earlier run may have left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from datadistiller import errors
from datadistiller.store import embedded, privileges
from datadistiller.store.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A short path: pytest's own would leave no room for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="dd-emb-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def server(scratch: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server of this module's folder, whatever state the last test left it in."""
    found = EmbeddedPostgres(scratch / "postgres")
    yield found
    await found.stop()


def ask(url: str, statement: str) -> object:
    """One value."""
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


async def test_a_new_server_is_durable_private_and_silent_about_values(server: EmbeddedPostgres) -> None:
    assert server.pid is None
    await server.start()
    assert server.alive() and server.pid is not None and psutil.pid_exists(server.pid)
    assert server.url == embedded.url_of(server.folder)
    shown = {n: ask(server.url, f"SHOW {n}") for n in ("fsync", "synchronous_commit", "full_page_writes", "jit")}
    assert shown == {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "jit": "off"}
    assert ask(server.url, "SHOW listen_addresses") == ""
    assert ask(server.url, "SELECT current_user || '@' || current_database()") == "datadistiller@datadistiller"
    assert embedded.socket_folder(server.folder).stat().st_mode & 0o077 == 0
    with psycopg.connect(server.url) as conn, pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("CREATE TEMP TABLE t (a text CHECK (a <> 'secret words'))")
        conn.execute("INSERT INTO t VALUES ('secret words')")
    pid = server.pid
    await server.stop()
    assert not server.alive() and server.pid is None and not psutil.pid_exists(pid)
    await server.stop()
    assert "secret" not in (server.folder / "postgres.log").read_text()


async def test_what_was_committed_outlives_a_kill_with_a_backend_at_work(server: EmbeddedPostgres) -> None:
    await server.start()
    assert ask(server.url, "WITH t AS (SELECT 1) SELECT count(*) FROM t") == 1
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS kept (a int)")
        conn.execute("INSERT INTO kept VALUES (1)")
    busy = psycopg.connect(server.url, autocommit=True)
    backend = busy.info.backend_pid
    # A backend that does not notice its postmaster's death by itself: it holds the shared memory.
    os.kill(backend, signal.SIGSTOP)
    os.kill(server.pid or 0, signal.SIGKILL)
    again = EmbeddedPostgres(server.folder)
    await again.start()
    try:
        assert not psutil.pid_exists(backend) or psutil.Process(backend).status() == psutil.STATUS_ZOMBIE
        assert ask(again.url, "SELECT count(*) FROM kept") == 1
    finally:
        await again.stop()
        busy.close()


async def test_a_server_left_running_is_replaced(server: EmbeddedPostgres) -> None:
    await server.start()
    first = server.pid
    again = EmbeddedPostgres(server.folder)
    await again.start()
    assert again.pid != first and not server.alive()
    assert ask(again.url, "SELECT 1") == 1
    await again.stop()


async def test_a_lock_file_that_names_a_stranger_does_not_stop_it(server: EmbeddedPostgres) -> None:
    await server.start()
    await server.stop()
    stranger = os.getpid()
    for lock in (server.folder / "data" / "postmaster.pid", server.folder / "socket" / ".s.PGSQL.5432.lock"):
        lock.write_text(f"{stranger}\n{server.folder / 'data'}\n1\n5432\n\n\n\n")
    await server.start()
    assert ask(server.url, "SELECT 1") == 1
    assert psutil.pid_exists(stranger)


async def test_a_half_made_cluster_is_made_again(scratch: Path) -> None:
    folder = scratch / "half"
    (folder / "data.new" / "base").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(folder)
    await server.start()
    await server.stop()
    assert not (folder / "data.new").exists()
    (folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(errors.SetupError, match=r"made by PostgreSQL 9, this one is 1\d"):
        await server.start()


@pytest.mark.parametrize("name", ["with space, comma 'quote' ü", "long" * 40])
async def test_any_path_will_do(scratch: Path, name: str) -> None:
    server = EmbeddedPostgres(scratch / name / "postgres")
    assert embedded.socket_folder(server.folder).parent == Path("/tmp")
    await server.start()
    try:
        assert ask(server.url, "SELECT 1") == 1
    finally:
        await server.stop()
        shutil.rmtree(embedded.socket_folder(server.folder), ignore_errors=True)


async def test_a_folder_that_cannot_be_written_is_one_clear_sentence(scratch: Path) -> None:
    (scratch / "file").write_text("")
    with pytest.raises(errors.SetupError, match="cannot be written"):
        await EmbeddedPostgres(scratch / "file" / "postgres").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_root_has_other_ways_where_namespaces_are_not_allowed(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Patched: whether the kernel allows namespaces is not ours to switch.
    real = privileges._works
    monkeypatch.setattr(privileges, "_works", lambda c, *rest: "unshare" not in c.prefix and real(c, *rest))
    closed = scratch / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres")
    await server.start()
    try:
        assert ask(server.url, "SELECT 1") == 1
        assert psutil.Process(server.pid).uids().effective != 0
        assert closed.stat().st_mode & 0o777 == 0o700, "nothing is opened for others"
        assert (server.folder / "data").stat().st_uid != 0
    finally:
        await server.stop()
    monkeypatch.undo()
    await server.start()  # the owner the data has already
    assert psutil.Process(server.pid).uids().effective != 0
    await server.stop()
