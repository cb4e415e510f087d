"""The ingest stage: what it asks of its parts, and what becomes of what they raise."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from datadistiller import errors, model
from datadistiller.messages import INGEST_TOPIC, Delivery, Done, Failed, Ingested
from datadistiller.stages import ingest
from datadistiller.stages.attachments import Intake, IntakeLimits

JOB = model.Job(
    uuid.uuid4(), "ducks.pdf", "default", "application/pdf", 3, "ab", "uploads/x/ducks.pdf", model.Lane.BULK, {},
    model.Status.PENDING, 1, 0, None, 0, 0, None, (), False, None, datetime.now(UTC), datetime.now(UTC), None,
)  # fmt: skip
DELIVERY = Delivery(1, INGEST_TOPIC, JOB.job_id, 1, None, model.Lane.BULK, 0, 0, uuid.uuid4())
DAMAGED = model.Page(2, "", problem=errors.ParserCrashed("It died on page 2.").problem())


@dataclass
class Jobs:
    """Records what the stage writes. ``current``: how many writes are accepted; ``found``: the job exists."""

    current: int = 100
    found: bool = True
    given: str | None = None
    written: list[tuple[str, int, int | None]] = field(default_factory=list)

    async def to_read(self, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, model.Job]:
        return dict.fromkeys(job_ids, JOB) if self.found else {}

    async def password(self, delivery: Delivery) -> str | None:
        assert delivery is DELIVERY
        return self.given

    async def advance(
        self, read: Sequence[tuple[Delivery, int | None]], status: model.Status, progress: int
    ) -> frozenset[int]:
        self.written += [(status.value, progress, pages) for _, pages in read]
        return frozenset(d.message_id for d, _ in read if len(self.written) <= self.current)


class Objects:
    """Gives a path that nobody opens."""

    open = False

    @asynccontextmanager
    async def local_path(self, key: str) -> AsyncIterator[Path]:
        assert key == JOB.object_key
        self.open = True
        yield Path("/nowhere")
        self.open = False


@dataclass
class Parser:
    """Gives these pages, reporting each; or raises ``error``."""

    pages: tuple[model.Page, ...] = (model.Page(1, "Ducks."), DAMAGED, model.Page(3, "Geese."))
    error: Exception | None = None
    warnings: tuple[model.Problem, ...] = ()

    async def parse(
        self,
        path: Path,
        media_type: str,
        on_page: Callable[[int, int | None], Awaitable[None]] | None = None,
        attachments: Intake | None = None,
        *,
        password: str | None = None,
    ) -> model.ParsedDocument:
        assert media_type == JOB.media_type
        assert on_page is not None
        for page in self.pages:
            await on_page(page.number, len(self.pages))
        if self.error:
            raise self.error
        return model.ParsedDocument(self.pages, "Of Ducks", "test", media_type, self.warnings)


class Chunker:
    """A chunk per page that has text."""

    def chunk(self, job_id: uuid.UUID, document: model.ParsedDocument, filename: str) -> list[model.Chunk]:
        assert (job_id, filename) == (JOB.job_id, JOB.filename)
        return [
            model.Chunk(model.make_chunk_id(job_id, n, page.text), n, page.number, 0, len(page.text), page.text, "", 3)
            for n, page in enumerate(page for page in document.pages if page.text)
        ]


async def intake(job: model.Job) -> Intake:
    """Takes in nothing: the parser here gives pages only."""
    return Intake(None, None, job, (0, 0), IntakeLimits(0, 0, 0))  # type: ignore[arg-type]


async def run(jobs: Jobs, parser: Parser) -> Done | Failed:
    """The outcome of the one delivery; the object is given back in any case."""
    objects = Objects()
    [outcome] = await ingest.Ingest(objects, jobs, parser, Chunker(), intake)([DELIVERY])
    assert outcome.delivery is DELIVERY
    return outcome


async def test_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "PROGRESS_SECONDS", 0.0)
    jobs = Jobs()
    outcome = await run(jobs, Parser())
    assert isinstance(outcome, Done)
    assert isinstance(outcome.result, Ingested)
    assert [chunk.page for chunk in outcome.result.chunks] == [1, 3]
    assert outcome.result.document.pages[1].problem == DAMAGED.problem
    assert jobs.written == [
        ("processing", 8, 3),
        ("processing", 16, 3),
        ("processing", 24, 3),
        ("chunking", 25, 3),
    ]


async def test_a_document_that_only_holds_others_is_found_by_what_it_holds() -> None:
    class Holder(Parser):
        async def parse(
            self,
            path: Path,
            media_type: str,
            on_page: Callable[[int, int | None], Awaitable[None]] | None = None,
            attachments: Intake | None = None,
        ) -> model.ParsedDocument:
            assert attachments is not None
            attachments.refuse("maps/island.dwg", 12_000, errors.UnsupportedType().problem())
            return await super().parse(path, media_type, on_page)

    outcome = await run(Jobs(), Holder((model.Page(1, ""),)))
    assert isinstance(outcome, Done) and isinstance(outcome.result, Ingested)
    assert [chunk.text for chunk in outcome.result.chunks] == ["maps/island.dwg (12,000 bytes)"]
    assert [page.number for page in outcome.result.document.pages] == [1, 2]
    assert [member.path for member in outcome.result.members] == ["maps/island.dwg"]


async def test_progress_is_not_written_for_every_page() -> None:
    jobs = Jobs()
    await run(jobs, Parser(tuple(model.Page(n, "x") for n in range(1, 200))))
    assert len(jobs.written) < 20


@pytest.mark.parametrize(
    "error", [errors.EncryptedDocument(), errors.ParserTimedOut(), errors.ObjectMissing(), errors.LeaseLost()]
)
async def test_errors_are_the_outcome(error: errors.DataDistillerError) -> None:
    outcome = await run(Jobs(), Parser(error=error))
    assert isinstance(outcome, Failed)
    assert outcome.error is error


@pytest.mark.parametrize("current", [0, 3])
async def test_a_lost_lease_ends_the_work(current: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "PROGRESS_SECONDS", 0.0)
    outcome = await run(Jobs(current=current), Parser())
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, errors.LeaseLost)


def several(count: int) -> list[Delivery]:
    return [replace(DELIVERY, message_id=n, job_id=uuid.uuid4(), token=uuid.uuid4()) for n in range(count)]


@dataclass
class Record(Jobs):
    """Documents of several names; ``lost``: the message whose lease is; ``there``: all but these are deleted."""

    lost: int = -1
    gone: frozenset[uuid.UUID] = frozenset()

    async def to_read(self, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, model.Job]:
        return {job_id: replace(JOB, job_id=job_id) for job_id in job_ids if job_id not in self.gone}

    async def advance(
        self, read: Sequence[tuple[Delivery, int | None]], status: model.Status, progress: int
    ) -> frozenset[int]:
        assert len(read) > 1, "one statement for all"
        return frozenset(d.message_id for d, _ in read if d.message_id != self.lost)


class Cutter(Chunker):
    """Cannot cut the document ``bad``."""

    def __init__(self, bad: uuid.UUID) -> None:
        self.bad = bad

    def chunk(self, job_id: uuid.UUID, document: model.ParsedDocument, filename: str) -> list[model.Chunk]:
        if job_id == self.bad:
            raise ValueError("a text that nobody shall read in the log")
        return super().chunk(JOB.job_id, document, filename)


async def test_what_is_wrong_with_one_of_several_documents_is_its_own() -> None:
    deliveries = several(5)
    good, lost, gone, uncut, also_good = deliveries
    jobs = Record(lost=lost.message_id, gone=frozenset({gone.job_id}))
    stage = ingest.Ingest(Objects(), jobs, Parser(), Cutter(uncut.job_id), intake)
    outcomes = {outcome.delivery: outcome for outcome in await stage(deliveries)}
    assert set(outcomes) == set(deliveries)
    assert all(isinstance(outcomes[delivery], Done) for delivery in (good, also_good))
    errors_of = {d: o.error for d, o in outcomes.items() if isinstance(o, Failed)}
    assert {type(errors_of[d]) for d in (lost, gone)} == {errors.LeaseLost}
    assert type(errors_of[uncut]) is errors.TransientError and "nobody" not in str(errors_of[uncut])


async def test_alone_a_document_raises_what_nobody_foresaw() -> None:
    """The worker knows what a full disk means."""
    with pytest.raises(OSError, match="full"):
        await run(Jobs(), Parser(error=OSError("full")))


async def test_a_deleted_document_is_dropped() -> None:
    outcome = await run(Jobs(found=False), Parser())
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, errors.LeaseLost)


async def test_no_text() -> None:
    outcome = await run(Jobs(), Parser((model.Page(1, ""),)))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, errors.NoText)


async def test_no_text_as_the_parser_explains_it() -> None:
    warning = errors.NoText("1 page is a picture.", hint="Install it.").problem()
    outcome = await run(Jobs(), Parser((model.Page(1, ""),), warnings=(warning,)))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, errors.NoText)
    assert (outcome.error.message, outcome.error.hint) == ("1 page is a picture.", "Install it.")


async def test_no_text_because_pages_failed() -> None:
    outcome = await run(Jobs(), Parser((model.Page(1, ""), DAMAGED)))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, errors.ParserCrashed)
    assert outcome.error.message == "It died on page 2."
