"""What happened to a document: what reading it took and gave, how its chunks came by their vectors, its attempts.

What is measured is noted when the reading is settled, all in one row; the rest is counted when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from datadistiller import errors, model
from datadistiller.messages import Ingested
from datadistiller.store.database import Database
from datadistiller.store.statements import Statements


class Reports:
    """Reports of documents."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("reports")

    async def of(self, job_id: UUID) -> model.Report:
        """The report as of now; ``errors.JobNotFound`` if there is no such document."""
        values = {"job_id": job_id}
        async with self._db.connection() as conn:
            job = await (await conn.execute(self._sql["document"], values)).fetchone()
            if job is None:
                raise errors.JobNotFound(f"There is no document with job id {job_id}.")
            of_version = {**values, "version": job["version"]}
            vectors = await (await conn.execute(self._sql["vectors"], of_version)).fetchone() or {}
            events = await (await conn.execute(self._sql["events"], values)).fetchall()
        noted = job["report"] or {}
        attempts = _attempts(events[::-1])
        return model.Report(
            job_id=job_id, filename=job["filename"], version=job["version"], status=model.Status(job["status"]),
            attempt=job["attempt"],
            error=model.Problem(**job["error"]) if job["error"] else None, failed_pages=job["failed_pages"],
            reading=noted.get("reading"), vectors_computed=vectors["computed"], vectors_found=vectors["found"],
            attempts=attempts, stages=_stages(noted, attempts[-1] if attempts else None, vectors),
        )  # fmt: skip


def noted(result: Ingested, attempt: int) -> dict[str, Any]:
    """What is kept of a reading. None of the document's text."""
    document, spent = result.document, result.spent
    kinds = [_kind(page) for page in document.pages]
    return {
        "reading": {
            "attempt": attempt,
            "parser": document.parser,
            "media_type": document.media_type,
            "encoding": document.encoding,
            "pages": len(kinds),
            **{f"pages_{kind}": kinds.count(kind) for kind in ("text", "recognised", "empty", "failed")},
            "characters": sum(len(page.text) for page in document.pages),
            "chunks": len(result.chunks),
            "tokens": sum(chunk.tokens for chunk in result.chunks),
            "warnings": [warning.as_json() for warning in document.warnings],
        },
        "parse_seconds": round(spent.parse_seconds, 3),
        "parse_bytes": spent.bytes,
        "chunk_seconds": round(spent.chunk_seconds, 3),
        "chunk_bytes": sum(len(page.text.encode()) for page in document.pages),
    }


def _kind(page: model.Page) -> str:
    if page.problem is not None:
        return "failed"
    if not page.text.strip():
        return "empty"
    return "recognised" if page.recognised else "text"


def _attempts(events: Sequence[Mapping[str, Any]]) -> list[model.Attempt]:
    """The events, oldest first, by attempt."""
    found: dict[int, list[model.Step]] = {}
    for event in events:
        found.setdefault(event["attempt"], []).append(model.Step(event["status"], event["at"], event["code"]))
    return [model.Attempt(number, steps) for number, steps in found.items()]


def _stages(noted: Mapping[str, Any], last: model.Attempt | None, vectors: Mapping[str, Any]) -> list[model.Spent]:
    """What the stages of the last attempt took, as far as it has come.

    Waiting, embedding and indexing are told by the times of its events and of its last vector; their workers measure
    nothing. One that kept all vectors of the attempt before has nothing to embed.
    """
    at = {step.status: step.at for step in last.steps} if last else {}
    begun, ended = at.get("embedding"), next((at[s] for s in ("completed", "partial", "failed") if s in at), None)
    stages = []
    if "pending" in at and "processing" in at:
        stages.append(model.Spent("wait", (at["processing"] - at["pending"]).total_seconds(), None))
    if noted and noted["reading"]["attempt"] == (last.number if last else 0):
        stages.append(model.Spent("parse", noted["parse_seconds"], noted["parse_bytes"]))
        stages.append(model.Spent("chunk", noted["chunk_seconds"], noted["chunk_bytes"]))
    if begun and vectors["made_at"]:
        made_at = max(begun, vectors["made_at"])
        stages.append(model.Spent("embed", (made_at - begun).total_seconds(), vectors["bytes"]))
        if ended:
            stages.append(model.Spent("index", (ended - made_at).total_seconds(), None))
    return stages
