"""Writes the results of stages, inside the transaction that settles their messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar
from uuid import UUID

from psycopg.types.json import Jsonb

from datadistiller import model
from datadistiller.messages import CHUNK_TOPIC, Delivery, Done, Failed, Ingested, Outcome
from datadistiller.store import cells, lines, reports
from datadistiller.store.children import Children, Reading
from datadistiller.store.completion import Completion
from datadistiller.store.database import Connection
from datadistiller.store.statements import Statements

MOST_ROWS = 1000  # of one INSERT
MOST_CHARS = 4_000_000  # of text in one INSERT, if it has more than one row

Textual = TypeVar("Textual", model.Page, model.Chunk)


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

    async def ingested(self, conn: Connection, delivery: Delivery, result: Ingested) -> None:
        """Replaces pages, chunks and children of the version that was read, and orders the embedding of what is new."""
        cursor = await conn.execute(self._ingested["version"], {"job_id": delivery.job_id})
        job = {"job_id": delivery.job_id, **(await cursor.fetchone() or {})}
        same = {"chunks": [c.chunk_id for c in result.chunks], "contexts": [c.context for c in result.chunks]}
        await conn.execute(self._ingested["drop_pages"], job)
        for pages in _slices(result.document.pages):
            await conn.execute(self._ingested["insert_pages"], {**job, **_pages(pages)})
        await conn.execute(self._ingested["drop_changed"], {**job, **same})
        for chunks in _slices(result.chunks):
            values = {**job, **_columns(chunks), "attempt": delivery.attempt}
            await conn.execute(self._ingested["upsert_chunks"], values)
        if delivery.attempt > 1:  # before the chunks go that have them
            await conn.execute(self._ingested["keep_vectors"], job)
        await conn.execute(self._ingested["drop_chunks"], {**job, **same})
        for name in ("describe", "describe_next", "embedding"):
            await conn.execute(self._ingested[name], {**job, **_description(result, delivery.attempt)})
        if result.members or delivery.attempt > 1:
            await self._children.record(conn, Reading(**job, again=delivery.attempt > 1), result.members)
        await conn.execute(self._ingested["touch_chunks"], job)
        await conn.execute(self._ingested["order_embedding"], {**job, "topic": CHUNK_TOPIC})

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


def _slices(items: Sequence[Textual]) -> Iterator[list[Textual]]:
    """The items in portions of bounded size: one statement's parameters stay in memory several times."""
    portion: list[Textual] = []
    size = 0
    for item in items:
        if portion and (len(portion) >= MOST_ROWS or size + len(item.text) > MOST_CHARS):
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += len(item.text)
    if portion:
        yield portion


def _pages(pages: Sequence[model.Page]) -> dict[str, object]:
    sizes = [lines.size_of(p) or (None, None) for p in pages]
    return {
        "pages": [p.number for p in pages],
        "labels": [p.label for p in pages],
        "texts": [p.text for p in pages],
        "widths": [width for width, _ in sizes],
        "heights": [height for _, height in sizes],
        "recognised": [p.recognised for p in pages],
        "lines": [lines.pack(p) for p in pages],
    }


def _columns(chunks: Sequence[model.Chunk]) -> dict[str, object]:
    return {
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


def _description(result: Ingested, attempt: int) -> dict[str, object]:
    pages = result.document.pages
    broken = [{"page": p.number, **p.problem.as_json()} for p in pages if p.problem is not None]
    return {
        "title": result.document.title,
        "parser": result.document.parser,
        "page_count": len(pages),
        "failed_pages": Jsonb(broken),
        "total": len(result.chunks),
        "report": Jsonb(reports.noted(result, attempt)),
    }
