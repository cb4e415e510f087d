"""Pages as they were read: their text, where it stands, and the chunks on them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from datadistiller import errors, model
from datadistiller.store import cells, lines
from datadistiller.store.database import Database
from datadistiller.store.statements import Statements


class Pages:
    """Reads pages of documents that are not deleted."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("pages")

    async def get(self, job_id: UUID, number: int) -> model.Page:
        """The page without its blocks, which are not kept.

        Raises ``errors.PageNotFound``, which says how many there are, and ``errors.JobNotFound``.
        """
        values = {"job_id": job_id, "page": number}
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["page"], values)).fetchone()
            if row is None:
                count = await (await conn.execute(self._sql["count"], values)).fetchone()
                raise _absent(job_id, number, *(count.values() if count else ("", 0)))
        size = None if row["width"] is None else (row["width"], row["height"])
        found = lines.unpack(row["lines"], size)
        return model.Page(
            number=row["page"], text=row["text"], label=row["label"], size=size, lines=found,
            recognised=row["recognised"],
        )  # fmt: skip

    async def chunks(self, job_id: UUID, number: int) -> Sequence[model.ChunkPlace]:
        """The chunks on a page, in their order; none if there is no such page."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["chunks"], {"job_id": job_id, "page": number})).fetchall()
        return [
            model.ChunkPlace(
                chunk_id=row["chunk_id"],
                ordinal=row["ordinal"],
                start=row["start_char"],
                end=row["end_char"],
                status=model.ChunkStatus(row["status"]),
                cells=cells.unpack(row["cells"]),
            )
            for row in rows
        ]


def _absent(job_id: UUID, number: int, status: str, pages: int) -> errors.RequestError:
    """Why there is no such page."""
    if not status:
        return errors.JobNotFound(f"There is no document with job id {job_id}.")
    if pages:
        has = "1 page" if pages == 1 else f"{pages} pages"
        return errors.PageNotFound(f"Document {job_id} has {has}; there is no page {number}.")
    if model.Status(status).terminal:
        return errors.PageNotFound(
            f"Document {job_id} has no pages: it is {status}, and was not read.",
            hint="Its status says why, and what to do.",
        )
    return errors.PageNotFound(
        f"Document {job_id} has not been read yet: it is {status}.", hint="Wait until its status is 'embedding'."
    )
