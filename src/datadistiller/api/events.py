"""GET /api/v2/documents/status/{job_id}/events: the status of a document as it changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response

from datadistiller import errors, model, wiring
from datadistiller.api import problems, schemas, sse
from datadistiller.api.parts import JobId, Parts, Stop
from datadistiller.store import signals

#: Looked at this often even if no notification comes, seconds.
POLL_SECONDS = 1.0
#: Silence after which a comment is sent, seconds: it keeps proxies from closing, and finds out who has gone.
KEEP_ALIVE_SECONDS = 15.0
#: What changes with the work and is not recorded with events: left out of those that are past.
SINCE = {
    "total_chunks", "processed_chunks", "failed_chunks", "page_count", "failed_pages", "searchable", "error",
    "finished_at",
}  # fmt: skip
EXAMPLE = 'id: 5\nevent: status\ndata: {"status": "completed", "progress": 100, ...}\n\n'

router = APIRouter(prefix="/api/v2/documents/status", tags=["documents"])


@router.get(
    "/{job_id}/events",
    operation_id="watch_status",
    summary="Status of a document, as it changes",
    response_class=Response,
    responses={
        200: sse.documented("`status` and `progress` events; ends with a terminal status, or `deleted`.", EXAMPLE),
        204: {"description": "Nothing came after Last-Event-ID and nothing will: do not connect again."},
        **problems.documented(errors.JobNotFound),
    },
)
async def watch_status(
    job_id: JobId,
    parts: Parts,
    stop: Stop,
    last_event_id: Annotated[str | None, Header(description="The id of the last event seen, to go on after.")] = None,
) -> Response:
    """A `status` event at every change of the status, the current one first; the data is a `JobStatus`.

    Between them `progress` events tell how far the present status has got. An event that is past when it is sent has
    only what is known of its moment: no counts of chunks and pages, no error.
    """
    seen = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 9 else 0
    happened = await parts.jobs.events(job_id)
    job = await parts.jobs.get(job_id)  # after its events, so that the last of them is never newer than it
    past = [event for event in happened if event.n > seen]
    if seen and not past and job.status.terminal and (not happened or happened[-1].status.terminal):
        return Response(status_code=204)
    if seen:
        seen = min(seen, happened[-1].n if happened else 0)  # a number never given must not hide what comes
    else:  # events are kept for a time only; the job itself always knows its present state
        past = past[-1:] or [model.JobEvent(job_id, 0, job.attempt, job.status, job.progress, job.updated_at)]
    return sse.stream(_Watch(job_id, parts, stop, seen).events(job, past))


class _Watch:
    """One subscriber of one job."""

    def __init__(self, job_id: UUID, parts: wiring.ApiParts, stop: asyncio.Event, seen: int) -> None:
        self._job_id = job_id
        self._parts = parts
        self._stop = stop
        self._last = seen  # number of the last event sent, now or on an earlier connection
        self._over = False  # it was a terminal one
        self._shown: tuple[int, int] | None = None  # progress and chunks last sent
        self._sent_at = time.monotonic()

    async def events(self, job: model.Job, past: Sequence[model.JobEvent]) -> AsyncIterator[bytes]:
        """What happened, then what happens, until it is over or the server stops."""
        with self._parts.signals.subscribe(signals.JOBS, str(self._job_id)) as changed:
            for text in self._news(job, past):
                yield text
            while not self._over and not self._stop.is_set():
                changed.clear()
                try:
                    past = await self._parts.jobs.events(self._job_id, after_n=self._last)
                    job = await self._parts.jobs.get(self._job_id)
                except errors.JobNotFound:
                    yield sse.event("deleted", "{}")
                    return
                except errors.Unavailable:
                    past = ()  # the client stays; the next look may succeed
                for text in self._news(job, past):
                    yield text
                if not self._over:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), POLL_SECONDS)

    def _news(self, job: model.Job, past: Sequence[model.JobEvent]) -> list[bytes]:
        now = schemas.JobStatus.of(job)
        texts = []
        for happened in past:
            self._last, self._over = happened.n, happened.status.terminal
            texts.append(sse.event("status", _at(now, happened), happened.n))
        shown = (job.progress, job.processed_chunks)
        if not past and shown != self._shown:
            texts.append(sse.event("progress", now.model_dump_json()))
        self._shown = shown
        if texts:
            self._sent_at = time.monotonic()
        elif time.monotonic() - self._sent_at > KEEP_ALIVE_SECONDS:
            self._sent_at = time.monotonic()
            texts.append(sse.KEEP_ALIVE)
        return texts


def _at(now: schemas.JobStatus, happened: model.JobEvent) -> str:
    """The job as it was at an event: as it is now if nothing came after, else what is known of that moment."""
    if (now.status, now.attempt) == (happened.status, happened.attempt):
        return now.model_dump_json()
    then = {"status": happened.status, "attempt": happened.attempt, "progress": happened.progress}
    return now.model_copy(update={**then, "updated_at": happened.at}).model_dump_json(exclude=SINCE)
