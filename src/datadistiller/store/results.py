"""Writes the results of stages, inside the transaction that settles their messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from psycopg.types.json import Jsonb

from datadistiller import model
from datadistiller.messages import CHUNK_TOPIC, Done, Failed, Ingested, Outcome
from datadistiller.store import cells, lines, reports
from datadistiller.store.children import Children, Reading
from datadistiller.store.completion import Completion
from datadistiller.store.database import Connection
from datadistiller.store.statements import Statements

MOST_ROWS = 1000  # of one INSERT
MOST_CHARS = 4_000_000  # of text in one INSERT, if it has more than one row

Textual = TypeVar("Textual", model.Page, model.Chunk)


@dataclass(frozen=True, slots=True)
class _Read:
    """The result of reading a document. ``version`` has its ``job_id``, its ``version``, and the one ``searched``."""

    version: Mapping[str, Any]
    attempt: int
    result: Ingested

    @property
    def chunks(self) -> dict[str, object]:
        """``version`` with the ids and contexts of what this reading gave."""
        chunks = self.result.chunks
        return {**self.version, "chunks": [c.chunk_id for c in chunks], "contexts": [c.context for c in chunks]}


class Results:
    """What ingest and remove leave behind; the caller holds the jobs' locks."""

    def __init__(self) -> None:
        self._ingested = Statements("ingested")
        self._removed = Statements("removed")
        self._children = Children()
        self._completion = Completion()

    async def hold(self, conn: Connection, outcomes: Sequence[Outcome]) -> None:
        """Takes the locks that children need, before all others."""
        jobs = sorted({outcome.delivery.job_id for outcome in outcomes})
        if any(_has_children(outcome) for outcome in outcomes):
            await self._children.hold_members(conn, dict.fromkeys(jobs, ()) | _members(outcomes))
        elif any(isinstance(outcome, Failed) for outcome in outcomes):  # the last chunk of a version may be among them
            await self._completion.hold(conn, jobs)

    async def ingested(self, conn: Connection, done: Sequence[Done]) -> None:
        """Replaces pages, chunks and children of the versions that were read, and orders the embedding of what is new.

        All documents together: a statement costs as much as the rows of a small document.
        """
        readings = await self._readings(conn, done)
        if not readings:
            return
        again = [reading for reading in readings if reading.attempt > 1]  # the others found nothing in their place
        for reading in again:
            await conn.execute(self._ingested["drop_pages"], reading.version)
            await conn.execute(self._ingested["drop_changed"], reading.chunks)
        for pages in _slices((reading, page) for reading in readings for page in reading.result.document.pages):
            await conn.execute(self._ingested["insert_pages"], _pages(pages))
        for chunks in _slices((reading, chunk) for reading in readings for chunk in reading.result.chunks):
            await conn.execute(self._ingested["upsert_chunks"], _columns(chunks))
        for reading in again:
            await conn.execute(self._ingested["keep_vectors"], reading.version)  # before the chunks go that have them
            await conn.execute(self._ingested["drop_chunks"], reading.chunks)
        await conn.execute(self._ingested["describe"], _descriptions(readings))
        for reading in readings:
            if reading.result.members or reading.attempt > 1:
                parent = Reading(**reading.version, again=reading.attempt > 1)
                await self._children.record(conn, parent, reading.result.members)
        for reading in again:
            await conn.execute(self._ingested["touch_chunks"], reading.version)
        await conn.execute(self._ingested["order_embedding"], {**_versions(readings), "topic": CHUNK_TOPIC})

    async def _readings(self, conn: Connection, done: Sequence[Done]) -> list[_Read]:
        results = [(d.delivery, d.result) for d in done if isinstance(d.result, Ingested)]
        if not results:
            return []
        jobs = {"jobs": [delivery.job_id for delivery, _ in results]}
        rows = await (await conn.execute(self._ingested["versions"], jobs)).fetchall()
        versions = {row["job_id"]: row for row in rows}
        return [_Read(versions[delivery.job_id], delivery.attempt, result) for delivery, result in results]

    async def removed(self, conn: Connection, jobs: Sequence[UUID]) -> None:
        """Leaves nothing of deleted documents but a tombstone."""
        if jobs:
            for name in ("drop_chunks", "drop_pages", "drop_letters", "drop_keys", "drop_links", "tombstone"):
                await conn.execute(self._removed[name], {"jobs": list(jobs)})


def _has_children(outcome: Outcome) -> bool:
    read = outcome.result if isinstance(outcome, Done) else None
    return isinstance(read, Ingested) and bool(outcome.delivery.attempt > 1 or read.members)


def _members(outcomes: Sequence[Outcome]) -> dict[UUID, Sequence[model.Member]]:
    """What was found in the documents that were read."""
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    return {one.delivery.job_id: one.result.members for one in done if isinstance(one.result, Ingested)}


def _slices(items: Iterable[tuple[_Read, Textual]]) -> Iterator[list[tuple[_Read, Textual]]]:
    """The items in portions of bounded size: one statement's parameters stay in memory several times."""
    portion: list[tuple[_Read, Textual]] = []
    size = 0
    for item in items:
        length = len(item[1].text)
        if portion and (len(portion) >= MOST_ROWS or size + length > MOST_CHARS):
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += length
    if portion:
        yield portion


def _versions(readings: Sequence[_Read]) -> dict[str, object]:
    return {
        "jobs": [reading.version["job_id"] for reading in readings],
        "versions": [reading.version["version"] for reading in readings],
    }


def _pages(portion: Sequence[tuple[_Read, model.Page]]) -> dict[str, object]:
    pages = [page for _, page in portion]
    sizes = [lines.size_of(p) or (None, None) for p in pages]
    return {
        **_versions([reading for reading, _ in portion]),
        "pages": [p.number for p in pages],
        "labels": [p.label for p in pages],
        "texts": [p.text for p in pages],
        "widths": [width for width, _ in sizes],
        "heights": [height for _, height in sizes],
        "recognised": [p.recognised for p in pages],
        "lines": [lines.pack(p) for p in pages],
    }


def _columns(portion: Sequence[tuple[_Read, model.Chunk]]) -> dict[str, object]:
    chunks = [chunk for _, chunk in portion]
    return {
        **_versions([reading for reading, _ in portion]),
        "attempts": [reading.attempt for reading, _ in portion],
        "chunks": [c.chunk_id for c in chunks],
        "ordinals": [c.ordinal for c in chunks],
        "pages": [c.page for c in chunks],
        "starts": [c.start for c in chunks],
        "ends": [c.end for c in chunks],
        "tokens": [c.tokens for c in chunks],
        "contexts": [c.context for c in chunks],
        "texts": [c.text for c in chunks],
        "cells": [cells.pack(c.cells) for c in chunks],
    }


def _descriptions(readings: Sequence[_Read]) -> dict[str, object]:
    documents = [reading.result.document for reading in readings]
    return {
        **_versions(readings),
        "titles": [document.title for document in documents],
        "parsers": [document.parser for document in documents],
        "page_counts": [len(document.pages) for document in documents],
        "failed_pages": [Jsonb(_broken(document)) for document in documents],
        "totals": [len(reading.result.chunks) for reading in readings],
        "reports": [Jsonb(reports.noted(reading.result, reading.attempt)) for reading in readings],
    }


def _broken(document: model.ParsedDocument) -> list[dict[str, object]]:
    return [{"page": p.number, **p.problem.as_json()} for p in document.pages if p.problem is not None]
