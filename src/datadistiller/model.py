"""What the pipeline talks about: documents, jobs, chunks, passages, answers. Frozen, no I/O.

A *place* in a document is ``(page, start, end)``: a page number from 1 and a half-open range of
characters (Unicode code points) in the parsed text of that page. A chunk never crosses a page, and
``page_text[start:end] == chunk.text`` holds for every chunk and every citation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID, uuid5

from datadistiller.cells import Cells

#: Changed when the same parsed text would give other chunks; part of every chunk id.
CHUNKING_VERSION = 2


class Status(StrEnum):
    """The state of a job. It only moves forward; a retry starts a new attempt at ``pending``."""

    PENDING = "pending"  # accepted, waiting for an ingestion worker
    PROCESSING = "processing"  # an ingestion worker reads the file
    CHUNKING = "chunking"  # the text is cut into chunks
    EMBEDDING = "embedding"  # chunks become vectors and enter the search index
    COMPLETED = "completed"  # every later query can find all of it
    FAILED = "failed"  # nothing of it is searchable; `error` says why and what to do
    PARTIAL = "partial"  # searchable, but some pages or chunks could not be done
    CANCELLED = "cancelled"  # stopped by request

    @property
    def terminal(self) -> bool:
        """True if no worker will change this attempt any more."""
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.PARTIAL, Status.CANCELLED})
RETRYABLE = frozenset({Status.FAILED, Status.PARTIAL, Status.CANCELLED})


class ChunkStatus(StrEnum):
    """The state of a chunk: ``indexed`` is set only by the index follower's acknowledgement."""

    PENDING = "pending"
    INDEXED = "indexed"
    FAILED = "failed"


class Lane(IntEnum):
    """Which work goes first. The lower number is served first."""

    INTERACTIVE = 0
    BULK = 1


class Mode(StrEnum):
    """How a question is matched with chunks."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    KEYWORD = "keyword"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something could not be done, for a person: stable code, a sentence, what to do about it."""

    code: str
    message: str
    hint: str

    def as_json(self) -> dict[str, str]:
        """The shape stored in PostgreSQL and sent over HTTP."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


@dataclass(frozen=True, slots=True)
class NextVersion:
    """A version of a document that queries do not find yet: on its way, or failed."""

    version: int
    filename: str
    media_type: str
    file_size: int  # bytes
    sha256: str  # hexadecimal
    object_key: str


@dataclass(frozen=True, slots=True)
class Job:
    """One document on its way through the pipeline: a row of ``document_jobs``."""

    job_id: UUID
    filename: str
    collection: str
    media_type: str
    file_size: int  # bytes
    sha256: str  # hexadecimal
    object_key: str
    lane: Lane
    metadata: Mapping[str, Any]
    status: Status
    attempt: int  # from 1
    progress: int  # 0-100
    total_chunks: int | None  # None until chunking is done
    processed_chunks: int  # indexed or failed
    failed_chunks: int
    page_count: int | None
    failed_pages: Sequence[Mapping[str, Any]]  # {page, code, message, hint}
    searchable: bool
    error: Problem | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    version: int = 1  # the one that queries find; file and metadata above are of it
    next: NextVersion | None = None  # the one that this attempt reads, if it is another
    depth: int = 0  # in how many other documents it lies: an upload in none, what is attached to it in one
    root_job_id: UUID | None = None  # the upload it came with; None for an upload
    parent: Parent | None = None
    children: Mapping[str, int] = field(default_factory=dict)  # documents that lie in it, by status

    @property
    def chunks_id(self) -> UUID:
        """What its chunks are named after: the job, with the number for later versions than the first."""
        return self.job_id if self.version == 1 else uuid5(self.job_id, str(self.version))

    @property
    def newest(self) -> Job | NextVersion:
        """What has the newest file."""
        return self.next or self


@dataclass(frozen=True, slots=True)
class Parent:
    """The document that another one lies in: a mail of its attachment, an archive of its member."""

    job_id: UUID
    filename: str
    path: str  # what the other one is called there


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a document, as a reading of it gives it: what is to become a document of its own, or why it does not.

    ``job_id`` is that of the document to be, whose bytes lie under ``object_key``; None if the collection has these
    bytes already. ``missed``: it should have become one, so its parent is not complete.
    """

    path: str
    size: int  # bytes
    media_type: str = ""
    sha256: str = ""
    job_id: UUID | None = None
    object_key: str = ""
    problem: Problem | None = None
    missed: bool = False

    @property
    def filename(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Child:
    """A file in a document, as it is recorded: with its document, or the problem that it has none."""

    ordinal: int  # from 1 within the parent
    path: str
    size: int  # bytes
    job: Job | None
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One recorded change of a job's status; ``n`` counts from 1 within the job."""

    job_id: UUID
    n: int
    attempt: int
    status: Status
    progress: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """A status that an attempt reached; ``code`` says why, where it ended otherwise than well."""

    status: str
    at: datetime
    code: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What happened in one attempt, in order."""

    number: int  # from 1
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a stage took and how much it worked on: bytes of the file, of its text in UTF-8, of its vectors."""

    stage: str  # wait, parse, chunk, embed or index
    seconds: float
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to the newest version of a document."""

    job_id: UUID
    filename: str
    version: int
    status: Status
    attempt: int
    error: Problem | None
    failed_pages: Sequence[Mapping[str, Any]]  # as in ``Job``
    reading: Mapping[str, Any] | None  # as ``api.schemas.Reading`` shows it; None if nothing was read yet
    vectors_computed: int  # by the model
    vectors_found: int  # the text had one already
    stages: Sequence[Spent]  # of the last attempt, as far as it has come
    attempts: Sequence[Attempt]


class BlockKind(StrEnum):
    """What a piece of parsed text is; the chunker keeps blocks whole where they fit."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """A half-open character range ``[start, end)`` of a page's text, with its kind.

    Blocks of a page are in order and do not overlap; text between them is white space. ``level`` is
    1-6 for headings, 0 otherwise.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """Where the characters ``[start, end)`` of a page's text stand on it: one line, or what a table has in one cell.

    The rectangle is in points (1/72 inch; pixels for images) from the top left corner of the page as it is shown.
    """

    start: int
    end: int
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Page:
    """The parsed text of one page (PDF page, slide, sheet; formats without pages have page 1 only).

    ``label`` is what a person calls it ("Sheet1", "iv"), empty where the number says it all. ``text``
    holds no NUL and no lone surrogate. ``problem`` is set, and ``text`` empty, if the page failed.
    ``lines`` and ``cells`` are in the order of the text and do not overlap in it; without geometry there are no lines,
    and no ``size``; what is no sheet has no cells.
    """

    number: int
    text: str
    blocks: Sequence[Block] = ()
    label: str = ""
    problem: Problem | None = None
    size: tuple[float, float] | None = None  # width and height as shown, in the unit of the lines
    lines: Sequence[Line] = ()
    recognised: bool = False  # the text was read from a picture
    cells: Sequence[Cells] = ()


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """A chunk as its page shows it: where it stands there, and how it is."""

    chunk_id: UUID
    ordinal: int
    start: int
    end: int
    status: ChunkStatus
    cells: Sequence[Cells] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """All pages of a document, in order, with the title found in it (empty if none)."""

    pages: Sequence[Page]
    title: str
    parser: str  # which parser read it, for the report
    media_type: str  # as found by the parser
    warnings: Sequence[Problem] = ()  # what was read with a doubt, or left out; for the report
    encoding: str = ""  # what the bytes of a text file were taken for, such as "windows-1251"; empty for other formats


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of one page. ``context`` (title and heading path) is indexed with it, never cited."""

    chunk_id: UUID
    ordinal: int  # from 0 within the document
    page: int
    start: int
    end: int
    text: str
    context: str
    tokens: int  # of context and text together, special tokens included
    cells: Sequence[Cells] = ()

    @property
    def indexed_text(self) -> str:
        """What is embedded and searched: the context on a line of its own, then the text."""
        return f"{self.context}\n{self.text}" if self.context else self.text


def make_chunk_id(job_id: UUID, ordinal: int, text: str) -> UUID:
    """The id of a chunk: a hash of what it is, so that doing the work again upserts the same row."""
    digest = hashlib.sha256(b"%s|%d|%d|" % (job_id.bytes, CHUNKING_VERSION, ordinal))
    digest.update(text.encode())
    return UUID(bytes=digest.digest()[:16], version=5)


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as a query finds it, hydrated from PostgreSQL; ``score`` is comparable within one query only."""

    chunk_no: int
    chunk_id: UUID
    job_id: UUID
    filename: str
    collection: str
    metadata: Mapping[str, Any]
    page: int
    page_label: str
    start: int
    end: int
    text: str
    context: str
    score: float
    parent: Parent | None = None  # the document that this one lies in
    version: int = 1  # of the document
    similarity: float | None = None  # cosine to the question, -1 to 1; None if keyword search alone found it
    media_type: str = ""
    recognised: bool = False  # the text was read from a picture
    page_size: tuple[float, float] | None = None  # width and height, if it is known where the text stands
    lines: Sequence[Line] = ()  # those of the page in which the passage stands
    cells: Sequence[Cells] = ()


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an extractive answer; ``citation`` is the number (from 1) of the passage it stands in.

    ``page``, ``start``, ``end`` are its exact place in the document.
    """

    text: str
    citation: int
    page: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gets. ``text`` is for reading, with [n] markers; ``answered``: something supports one."""

    question: str
    text: str | None  # None if no answer was asked for
    answered: bool
    sentences: Sequence[Sentence]
    citations: Sequence[Passage]
    took_ms: float
    scored_by: str  # what the passages' scores come from: 'search', or a reranking model's name
    timings_ms: Mapping[str, float] = field(default_factory=dict)
