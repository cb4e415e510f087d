"""Chunks: what is embedded, what a query shows, and which documents a filter allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from datadistiller import errors, model
from datadistiller.messages import IndexedText
from datadistiller.store import cells, filters, jobs, lines
from datadistiller.store.database import Database
from datadistiller.store.statements import Statements


class Chunks:
    """Reads chunks."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("chunks")

    async def texts(self, chunk_ids: Sequence[UUID], model_id: int) -> dict[UUID, IndexedText]:
        """What is embedded of each chunk (context and text); chunks that are gone are left out.

        With the vector of the same text, if some chunk has it under this model, whatever document it belongs to.
        """
        async with self._db.connection() as conn:
            cursor = conn.cursor(binary=True)
            await cursor.execute(self._sql["texts"], {"chunks": list(chunk_ids), "model": model_id})
            rows = await cursor.fetchall()
        return {r["chunk_id"]: IndexedText(r["text"], _vector(r["vector"])) for r in rows}

    async def passages(self, chunk_nos: Sequence[int], located: int | None = None) -> list[model.Passage]:
        """The findable ones of these chunks, in the order given, with score 0.

        The first ``located`` of those found (None: all) have their ``lines``.
        """
        values = {"numbers": list(chunk_nos), "located": len(chunk_nos) if located is None else located}
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["passages"], values)).fetchall()
        found = {row["chunk_no"]: row for row in rows}
        return [_passage(found[number]) for number in chunk_nos if number in found]

    async def any_gone(self, chunk_nos: Sequence[int]) -> bool:
        """True if one of these chunks is not there at all: not hidden, but purged."""
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["any_gone"], {"numbers": list(chunk_nos)})).fetchone()
        return bool(row and row["gone"])

    async def allowed_jobs(self, collection: str | None, filter: Mapping[str, Any] | None) -> NDArray[np.int64] | None:
        """Sorted ``int64[n]`` job numbers of the searchable documents a query may use; None means all.

        Raises ``errors.InvalidRequest`` for a filter that is not understood.
        """
        if collection is None and not filter:
            return None
        where, values = filters.condition(filter or {})
        statement = (
            "SELECT job_no FROM document_jobs j WHERE deleted_at IS NULL AND searchable"
            " AND (%(collection)s::text IS NULL OR collection = %(collection)s)" + where + " ORDER BY job_no"
        )
        try:
            async with self._db.transaction() as conn:
                await conn.execute(self._sql["allow_bitmaps"])
                rows = await (await conn.execute(statement, {"collection": collection, **values})).fetchall()
        except errors.BrokenInvariant as error:
            raise errors.InvalidRequest(
                "The filter or the collection holds a value that PostgreSQL cannot compare.",
                hint="Leave out NUL characters, broken Unicode, and numbers that are not finite.",
            ) from error
        return np.array([row["job_no"] for row in rows], dtype=np.int64)


def _vector(stored: bytes | None) -> NDArray[np.float16] | None:
    return None if stored is None else np.frombuffer(stored, dtype="<f2")


def _passage(row: Mapping[str, Any]) -> model.Passage:
    size = None if row["width"] is None else (row["width"], row["height"])
    return model.Passage(
        chunk_no=row["chunk_no"], chunk_id=row["chunk_id"], job_id=row["job_id"], filename=row["filename"],
        collection=row["collection"], metadata=row["metadata"], page=row["page"], page_label=row["page_label"],
        start=row["start_char"], end=row["end_char"], text=row["text"], context=row["context"], score=0.0,
        version=row["version"], parent=jobs.parent_of(row["parent"]),
        media_type=row["media_type"], recognised=row["recognised"], page_size=size,
        lines=lines.unpack(row["lines"], size, row["start_char"], row["end_char"]),
        cells=cells.unpack(row["cells"]),
    )  # fmt: skip
