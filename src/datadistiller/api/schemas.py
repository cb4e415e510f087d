"""The bodies of requests and responses, as OpenAPI shows them. Field names are the contract's."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from datadistiller import model
from datadistiller.store import dead_letters

MOST_PASSWORD_CHARS = 1000
PASSWORD_HELP = "Opens an encrypted file: PDF, Office, OpenDocument, ZIP. Kept until the attempt ends, shown nowhere."
COLLECTION_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"
COLLECTION_HELP = "Name of a set of documents: letters, digits, '.', '_' and '-', at most 64."
COLLECTION_RULE = (
    "The name of a collection has 1 to 64 characters: A to Z, a to z, 0 to 9, '.', '_' and '-'; "
    "it does not begin with '.' or '-'."
)
KEY_PATTERN = r"^[\x21-\x7e]{1,255}$"
KEY_RULE = "An Idempotency-Key has 1 to 255 characters: visible ones of ASCII, no spaces."
#: What is said to those who do not keep to a pattern, which is for programs.
RULES = {COLLECTION_PATTERN: COLLECTION_RULE, KEY_PATTERN: KEY_RULE}
EXAMPLE_JOB = "5f0c1b1e-8a4e-4d7e-9a55-3d1f0a0c7b11"
EXAMPLE_TIME = "2026-11-24T09:14:00.123456Z"

#: A page of a list ends with the cursor of the next one.
Cursor = Annotated[
    str | None,
    Query(max_length=200, description="`next_cursor` of the page before.", json_schema_extra={"format": "cursor"}),
]
Collection = Annotated[str, Field(pattern=COLLECTION_PATTERN, description=COLLECTION_HELP, examples=["reports"])]
Priority = Literal["interactive", "bulk"]
Rect = Annotated[
    tuple[float, float, float, float],
    Field(description="Left, top, right, bottom, from the top left corner.", examples=[[72, 90.5, 341.2, 103]]),
]
UNIT = "As the page is shown, in points (1/72 inch; a picture in pixels);"


class Body(BaseModel):
    """A body this server sends: fields may be added to it in later versions."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Problem(Body):
    """What went wrong (RFC 9457). `code` is stable; `detail` says what happened, `hint` what to do."""

    type: str = Field(description="Names the kind of problem; ends with the code.")
    title: str = Field(description="The kind of problem in a sentence.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened here.")
    code: str = Field(description="Stable name for programs.")
    hint: str = Field(description="What a person can do about it.")
    instance: str = Field(description="The path of the request.")


class JobError(Body):
    """Why a document failed, or what of it could not be done."""

    code: str = Field(examples=["no_text"])
    message: str = Field(examples=["The document holds no text."])
    hint: str = Field(
        examples=["If a person can read something on it, scan it again: larger, sharper, with more contrast."]
    )


class FailedPage(JobError):
    """A page that could not be read."""

    page: int = Field(ge=1)


class UploadForm(BaseModel):
    """The form of an upload. Fields may come in any order."""

    model_config = ConfigDict(extra="forbid")

    file: bytes = Field(
        description="The document.",
        json_schema_extra={"type": "string", "format": "binary", "minLength": 1},
    )
    collection: Collection | Literal[""] = "default"  # browsers send fields that were left empty
    metadata: str = Field(
        "{}",
        description="A JSON object, at most 16 kB and 16 levels deep; queries can filter on it.",
        examples=['{"year": 2024, "author": "Kim"}'],
        json_schema_extra={"contentMediaType": "application/json", "format": "json-object"},
    )
    priority: Priority = Field("interactive", description="'bulk' lets interactive uploads go first.")
    password: str = Field("", max_length=MOST_PASSWORD_CHARS, description=PASSWORD_HELP)


class Again(BaseModel):
    """What a new attempt may need."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field("", max_length=MOST_PASSWORD_CHARS, description=PASSWORD_HELP, repr=False)


class UploadAccepted(Body):
    """The document is stored and will be processed."""

    job_id: UUID = Field(examples=[EXAMPLE_JOB])
    status: model.Status = Field(description="`pending` for a new document.", examples=["pending"])
    message: str = Field(examples=["Document upload accepted"])
    filename: str = Field(examples=["report.pdf"])
    file_size: int = Field(description="Bytes.", ge=0, examples=[48213])
    collection: str = Field(examples=["default"])
    duplicate: bool = Field(description="True if the collection had these bytes already: this is their first job.")


class Parent(Body):
    """The document that another one lies in: a mail of its attachment, an archive of its member."""

    job_id: UUID = Field(examples=[EXAMPLE_JOB])
    filename: str = Field(examples=["mail.eml"])
    path: str = Field(description="What the document is called there.", examples=["report.pdf"])

    @classmethod
    def of(cls, parent: model.Parent | None) -> Parent | None:
        """The parent as it is shown, if there is one."""
        return cls(job_id=parent.job_id, filename=parent.filename, path=parent.path) if parent else None


class JobStatus(Body):
    """One document on its way through the pipeline."""

    job_id: UUID = Field(examples=[EXAMPLE_JOB])
    filename: str = Field(examples=["report.pdf"])
    collection: str = Field(examples=["default"])
    media_type: str = Field(examples=["application/pdf"])
    file_size: int = Field(description="Bytes.", examples=[48213])
    sha256: str
    priority: Priority
    metadata: dict[str, Any]
    status: model.Status = Field(examples=["completed"])
    attempt: int = Field(description="From 1; a retry adds one.", ge=1)
    progress: int = Field(ge=0, le=100, examples=[100])
    total_chunks: int | None = Field(description="null until the document is cut into chunks.", examples=[12])
    processed_chunks: int = Field(description="Chunks indexed or failed.", examples=[12])
    failed_chunks: int
    page_count: int | None
    failed_pages: list[FailedPage]
    searchable: bool = Field(description="Queries can find it; stays true while it is retried.")
    version: int = Field(description="The version that queries find; name, size and metadata are its own.", ge=1)
    next_version: int | None = Field(description="A newer one that they do not find: on its way, or see `error`.")
    error: JobError | None
    parent: Parent | None = Field(description="The document it came in; null for an upload.")
    children: dict[model.Status, int] = Field(
        description="How many documents lie in it (attached, or packed), by their status.", examples=[{"completed": 2}]
    )
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    updated_at: datetime = Field(examples=[EXAMPLE_TIME])
    finished_at: datetime | None = Field(examples=[EXAMPLE_TIME])

    @classmethod
    def of(cls, job: model.Job) -> JobStatus:
        """The job as it is shown."""
        return cls(
            **{name: getattr(job, name) for name in cls.model_fields if name in JOB_FIELDS},
            priority="bulk" if job.lane is model.Lane.BULK else "interactive",
            metadata=dict(job.metadata),
            next_version=job.next.version if job.next else None,
            failed_pages=[FailedPage(**page) for page in job.failed_pages],
            error=JobError(**job.error.as_json()) if job.error else None,
            parent=Parent.of(job.parent),
            children={model.Status(status): number for status, number in job.children.items()},
        )


#: What is shown as it is.
JOB_FIELDS = frozenset(JobStatus.model_fields) - {
    "priority", "metadata", "failed_pages", "error", "next_version", "parent", "children",
}  # fmt: skip


class JobList(Body):
    """A page of documents, newest first."""

    jobs: list[JobStatus]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null at the end.")


class PageLine(Body):
    """A line of a page, or what a table has in one cell: the characters `[start, end)` and where they stand."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    rect: Rect


class PageCells(Body):
    """Cells of a sheet that the characters `[start, end)` say. Of several rows each is a line of the text."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    range: str = Field(description="As spreadsheet programs call them.", examples=["A2:F1001"])


class PageChunk(Body):
    """A chunk on a page: the characters `[start, end)`."""

    chunk_id: UUID
    ordinal: int = Field(description="From 0 within the document.", ge=0)
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    status: model.ChunkStatus


class Page(Body):
    """The parsed text of one page; citations point into it: `text[start:end]`, in Unicode code points."""

    job_id: UUID
    page: int
    label: str = Field(description="What a person calls the page, if not its number.")
    place: str = Field(description="The same in words; empty for a text without pages.", examples=["page iv"])
    text: str
    problem: JobError | None = Field(description="Why the page could not be read.")
    recognised: bool = Field(description="The text was read from a picture (OCR).")
    width: float | None = Field(description=f"{UNIT} null if it is not known where the text stands.")
    height: float | None
    lines: list[PageLine] = Field(description="In the order of the text.")
    cells: list[PageCells] = Field(description="Of a sheet, in the order of the text.")
    chunks: list[PageChunk]
    image_url: str | None = Field(description="The picture of the page on this server; null if it has none.")


class Component(Body):
    """One part of the system."""

    status: Literal["up", "down"]
    detail: str = Field(description="What is wrong, or empty.", examples=[""])


class IndexComponent(Component):
    """The search index and its follower."""

    entries: int = Field(description="Chunks in it.")
    lag: int = Field(description="Changed chunks it does not show yet.")


class WorkersComponent(Component):
    """The worker processes."""

    roles: dict[str, int] = Field(description="How many are alive, by role.", examples=[{"ingest": 1, "embed": 2}])


class EngineComponent(Component):
    """What computes a model in this process; workers log theirs."""

    engine: str = Field(description="The engine.", examples=["native (avx512-vnni)", "ONNX Runtime"])


class Health(Body):
    """How the system is; with status 503 `down` names the parts that are not up."""

    status: Literal["healthy", "unhealthy"]
    version: str
    down: list[str]
    database: Component
    objects: Component
    index: IndexComponent
    workers: WorkersComponent
    embedding: EngineComponent
    reranking: EngineComponent | None = Field(description="Null if no model scores passages anew.")
    queue: Component | None = Field(description="The broker; null if messages go through none.")


class Alive(Body):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(Body):
    """Whether requests can be served: the database answers and the index has caught up."""

    status: Literal["ready", "not ready"]
    detail: str


class DeadLetter(Body):
    """Work that could not be done, and why."""

    dead_id: int
    topic: str = Field(examples=["chunk-processing"])
    job_id: UUID
    filename: str
    attempt: int
    chunk_id: UUID | None
    tries: int
    crashes: int
    error: JobError
    error_type: str
    frames: list[str] = Field(description="Where in the code it happened; no values.")
    history: list[dict[str, Any]] = Field(description="The attempts before.")
    died_at: datetime

    @classmethod
    def of(cls, letter: dead_letters.DeadLetter) -> DeadLetter:
        """The letter as it is shown."""
        fields = {name: getattr(letter, name) for name in cls.model_fields if name != "error"}
        return cls(**fields, error=JobError(**letter.error.as_json()))


class DeadLetterList(Body):
    """A page of dead letters, newest first."""

    dead_letters: list[DeadLetter]
    next_cursor: str | None


class Rebuild(Body):
    """The index is being built anew from the database; queries go on meanwhile."""

    message: str = Field(examples=["The search index is being rebuilt."])


class Finding(Body):
    """One thing that was examined."""

    level: Literal["ok", "warning", "error"]
    part: str = Field(examples=["index"])
    sentence: str = Field(examples=["The index holds 96 chunks and is 0 changes behind."])
    hint: str = Field(description="What to do; empty if nothing.")


class Examination(Body):
    """What an examination found; the unfinished jobs come last."""

    findings: list[Finding]
