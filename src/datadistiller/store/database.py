"""Connections to PostgreSQL: a small pool that heals by itself, and the translation of its errors.

A pool of our own rather than psycopg_pool: a lost server must be noticed before a connection is handed out
(without a round trip for each), and its return without an exponential back-off in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from datadistiller import errors

Connection = psycopg.AsyncConnection[DictRow]

_log = structlog.get_logger(__name__)

#: Set in each session. Only ordered index scans: the queue's statistics are always stale, and a plan that reads
#: and sorts all that waits takes 10 ms a claim at 25,000 messages, the ordered one 0.05. JIT never pays for
#: statements this short.
SESSION = {
    "statement_timeout": "60s",
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "30s",
    "client_connection_check_interval": "2s",
    # The server notices a client that vanished without a word as well: it may hold the follower's lock.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "TimeZone": "UTC",
}
#: A connection that nobody has needed for so long is closed, down to the least number.
IDLE_SECONDS = 30.0
#: For libpq: a server that vanished without a word is noticed within seconds. Of several hosts, and behind a name that
#: moves, only the one that takes writes is the database; a standby is passed over.
LINK = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
}


class Database:
    """A bounded set of connections to one PostgreSQL database.

    ``min_size`` connections are opened by ``open``, never more than ``max_size`` exist. ``name`` shows in
    ``pg_stat_activity``. Connections are in autocommit mode and give rows as dictionaries. A connection that is
    used for longer than ``limit_seconds`` at a time is cut: a server that hangs, its host alive, tells nobody.
    """

    def __init__(
        self, url: str, *, min_size: int = 1, max_size: int = 8, name: str = "", limit_seconds: float | None = None
    ) -> None:
        self.url = url
        self._limit_seconds = limit_seconds
        self._outage = _Outage(describe(url))
        self._min_size = min_size
        self._patience = 10.0  # seconds to wait for a free connection
        self._name = f"datadistiller-{name}" if name else "datadistiller"
        self._idle: deque[tuple[Connection, float]] = deque()  # each since when, the longest idle first
        self._slots = asyncio.Semaphore(max_size)
        self._closed = True

    async def open(self) -> None:
        """Opens the first connections.

        Raises ``errors.Unavailable`` if the server does not answer, ``errors.SetupError`` if it lets nobody of that
        name in, or has no such database: unlike later, that is no accident.
        """
        self._closed = False
        with _translated(self._outage), _refused():
            for _ in range(self._min_size):
                self._idle.append((await connect(self.url, self._name), time.monotonic()))

    async def close(self) -> None:
        """Closes the idle connections; those in use are closed when they come back."""
        self._closed = True
        while self._idle:
            await self._idle.pop()[0].close()

    @asynccontextmanager
    async def connection(self, *, limited: bool = True) -> AsyncIterator[Connection]:
        """Lends a connection in autocommit mode; ``limited=False`` for as long as it is needed.

        Raises ``errors.Unavailable`` if the database cannot be reached, is out of resources or took too long,
        and ``errors.BrokenInvariant`` if it refuses a statement or a value. Neither holds any value.
        """
        with _translated(self._outage):
            conn = await self._borrow()
            self._outage.over()
            cut = None
            if limited and self._limit_seconds is not None:
                cut = asyncio.get_running_loop().call_later(self._limit_seconds, _cut, conn)
            try:
                yield conn
            finally:
                if cut is not None:
                    cut.cancel()
                await self._give_back(conn)

    @asynccontextmanager
    async def transaction(self, *, durable: bool = True) -> AsyncIterator[Connection]:
        """Lends a connection inside a transaction: committed on leaving, rolled back on any exception.

        ``durable=False`` does not wait for the disk: only for what may be lost without harm.
        """
        async with self.connection() as conn, conn.transaction():
            if not durable:
                await conn.execute("SET LOCAL synchronous_commit = off")
            yield conn

    async def ping(self) -> None:
        """Raises ``errors.Unavailable`` if the database does not answer."""
        async with self.connection() as conn:
            await conn.execute("SELECT 1")

    async def _borrow(self) -> Connection:
        try:
            await asyncio.wait_for(self._slots.acquire(), self._patience)
        except TimeoutError:
            raise errors.Unavailable("All connections to the database are busy.") from None
        try:
            if self._closed:
                raise errors.Unavailable("The connections to the database are closed.")
            while self._idle:
                conn, _ = self._idle.pop()
                if _quiet(conn):
                    return conn
                await conn.close()
            return await connect(self.url, self._name)
        except BaseException:
            self._slots.release()
            raise

    async def _give_back(self, conn: Connection) -> None:
        try:
            if self._closed or conn.info.transaction_status != TransactionStatus.IDLE:
                await conn.close()
            else:
                self._idle.append((conn, time.monotonic()))
                await self._let_go()
        finally:
            self._slots.release()

    async def _let_go(self) -> None:
        """Closes what a burst left behind: each connection is a server process that keeps the memory it grew to."""
        oldest = time.monotonic() - IDLE_SECONDS
        while len(self._idle) > self._min_size and self._idle[0][1] < oldest:
            conn, _ = self._idle.popleft()
            await conn.close()


async def connect(url: str, name: str) -> Connection:
    """Opens one connection with our session settings; raises psycopg's errors."""
    conn = await psycopg.AsyncConnection.connect(
        url, autocommit=True, row_factory=dict_row, application_name=name, **link(url)
    )
    # One type for all integers, so that a statement is prepared once and not once per width.
    conn.adapters.register_dumper(int, Int8Dumper)
    conn.adapters.register_dumper(int, Int8BinaryDumper)
    names, values = list(SESSION), list(SESSION.values())
    try:
        await conn.execute(
            "SELECT set_config(n, v, false) FROM unnest(%s::text[], %s::text[]) s (n, v)", (names, values)
        )
    except BaseException:
        await conn.close()
        raise
    return conn


def link(url: str, **other: str) -> dict[str, Any]:
    """libpq's parameters for a connection: ``LINK``, ``other`` ones first, but for what the URL says itself."""
    given = conninfo_to_dict(url)
    return {key: value for key, value in {**LINK, **other}.items() if key not in given}


def describe(url: str) -> str:
    """The database in words, without user or password; ``errors.SetupError`` if the URL cannot be read."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise errors.SetupError(
            "The database URL cannot be read.", hint="It looks like postgresql://user:password@host:5432/database."
        ) from None
    return f"the database '{parts.get('dbname', '')}' at {parts.get('host', 'localhost')}"


def _cut(conn: Connection) -> None:
    """Ends the conversation from our side: whoever waits for an answer gets a connection error at once."""
    if not conn.closed:
        with socket.socket(fileno=os.dup(conn.fileno())) as line, contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _quiet(conn: Connection) -> bool:
    """False if the server has said something to an idle connection: it is going, or gone."""
    if conn.closed:
        return False
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return not poll.poll(0)


class _Outage:
    """Tells the log, once each time, which database does not serve and why; people are told only that it does not."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._told = ""

    def begun(self, error: psycopg.Error) -> None:
        """It does not serve, for this reason."""
        reason = f"{type(error).__name__} {error.sqlstate or ''}".strip()
        if reason != self._told:
            _log.warning("database_unavailable", database=self._target, reason=reason)
        self._told = reason

    def over(self) -> None:
        """It lent a connection."""
        self._told = ""


class _translated:
    """Turns psycopg's errors into ours, keeping the frames and dropping every value."""

    def __init__(self, outage: _Outage) -> None:
        self._outage = outage

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        if isinstance(error, psycopg.Error | UnicodeEncodeError):
            ours = translate(error)
            if isinstance(ours, errors.Unavailable) and isinstance(error, psycopg.Error):
                self._outage.begun(error)
            raise ours.with_traceback(error.__traceback__) from None


#: What a server says to whom it does not let in, and what we say.
REFUSALS = {
    re.compile(r"password authentication failed|role .* (does not exist|is not permitted)|no password supplied"): (
        "PostgreSQL refuses the user or the password."
    ),
    re.compile(r"no pg_hba\.conf entry"): "PostgreSQL lets nobody in from here by this user and database.",
    re.compile(r"FATAL: +database .* does not exist"): "PostgreSQL has no database of this name.",
}


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Raises ``errors.SetupError`` for what will not change while we wait."""
    try:
        yield
    except psycopg.OperationalError as error:
        # libpq has no code for what a server says before there is a session, only its words.
        sentence = next((ours for words, ours in REFUSALS.items() if words.search(str(error))), None)
        if sentence is None:
            raise
        raise errors.SetupError(sentence, hint="Check DATADISTILLER_DATABASE_URL, and create what it names.") from None


def translate(error: psycopg.Error | UnicodeEncodeError) -> errors.DataDistillerError:
    """Our error for one of psycopg's. Detail and context lines are dropped: they quote rows."""
    if isinstance(error, UnicodeEncodeError):
        return errors.BrokenInvariant("A text holds a lone surrogate, which PostgreSQL cannot store.")
    kind, code = type(error).__name__, error.sqlstate or ""
    if code[:2] in ("22", "23", "54") or (isinstance(error, psycopg.DataError) and not code):
        where = error.diag.constraint_name or error.diag.column_name or error.diag.table_name
        return errors.BrokenInvariant(
            f"PostgreSQL refused a value: {kind}{f' ({code})' if code else ''}{f' at {where}' if where else ''}."
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or code[:2] in ("25", "53", "57", "58"):
        return errors.Unavailable("The database cannot do this now." if code else "The database does not answer.")
    return errors.BrokenInvariant(f"PostgreSQL refused a statement: {kind} {code} {error.diag.message_primary or ''}")
