"""The bodies of questions and answers, as OpenAPI shows them. Field names are the contract's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from datadistiller import model
from datadistiller.api import links, schemas
from datadistiller.query import places
from datadistiller.store import filters

#: Something besides white space, and no NUL: PostgreSQL takes every other character.
QUESTION_PATTERN = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
#: A field of metadata in a filter, as the schema has it: operators stand below fields only.
FIELD_PATTERN = r"^([^$][\s\S]*)?$"
PLACE_HELP = "The place in words; empty for a text without pages and headings."
CELLS_HELP = "The cells it says, as spreadsheet programs call them; empty if it is out of no sheet."
RECTS_HELP = "What it covers on the page, line by line; empty if it is not known where the text stands."


class QueryRequest(BaseModel):
    """A question about the documents."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"question": "What did revenue grow by?", "top_k": 5}]},
    )

    question: str = Field(description="Plain words, in any language.")
    top_k: int = Field(5, ge=1, description="How many passages.")
    collection: schemas.Collection | None = None
    filter: dict[str, Any] | None = Field(
        None,
        description="Only documents whose metadata fit: `{field: value}`, or "
        "`{field: {$in|$ne|$gte|$lte|$gt|$lt: value}}`. A value also matches a list that has it.",
        examples=[{"year": {"$gte": 2023}, "author": "Kim"}],
        json_schema_extra={"propertyNames": {"pattern": FIELD_PATTERN}, "maxProperties": filters.MOST_FIELDS},
    )
    mode: model.Mode = Field(model.Mode.HYBRID, description="How chunks are matched.")
    answer: bool = Field(True, description="False: passages only.")


class Citation(schemas.Body):
    """A passage. `text` is exactly the characters `[start, end)` of the page's text (Unicode code points)."""

    number: int = Field(description="The [n] of the answer's text.", ge=1)
    job_id: UUID = Field(examples=[schemas.EXAMPLE_JOB])
    filename: str = Field(examples=["report.pdf"])
    collection: str
    metadata: dict[str, Any]
    version: int = Field(description="The version of the document that is cited.", ge=1)
    media_type: str = Field(examples=["application/pdf"])
    chunk_id: UUID
    place: str = Field(description=PLACE_HELP, examples=["page 3", "sheet Costs, B12:F14", "section Results"])
    page: int = Field(ge=1)
    page_label: str = Field(description="What a person calls the page, if not its number.")
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    cells: str = Field(description=CELLS_HELP, examples=["B12:F14", ""])
    rects: list[schemas.Rect] = Field(description=RECTS_HELP)
    page_width: float | None = Field(description=f"{schemas.UNIT} null if it is not known where the text stands.")
    page_height: float | None
    recognised: bool = Field(description="The text was read from a picture (OCR).")
    text: str
    score: float = Field(description="Comparable within one query only.")
    parent: schemas.Parent | None = Field(description="The document that this one lies in: a mail, an archive.")
    similarity: float | None = Field(description="Cosine to the question; null if only keywords found it.")
    page_url: str = Field(
        description="The page on this server.", examples=[f"/api/v2/documents/{schemas.EXAMPLE_JOB}/pages/3"]
    )
    image_url: str | None = Field(
        description="The page as a picture with the passage marked, on this server; null if the format has none.",
        examples=[f"/api/v2/documents/{schemas.EXAMPLE_JOB}/pages/3.png?highlight=120,480"],
    )

    @classmethod
    def of(cls, number: int, passage: model.Passage) -> Citation:
        """The passage as it is shown."""
        width, height = passage.page_size or (None, None)
        cells = places.cells_of_passage(passage)
        marked = (passage.start, passage.end) if passage.page_size else None
        return cls(
            **{name: getattr(passage, name) for name in cls.model_fields if name in PASSAGE_FIELDS},
            number=number,
            metadata=dict(passage.metadata),
            parent=schemas.Parent.of(passage.parent),
            place=places.words(passage.media_type, passage.page, passage.page_label, passage.context, cells),
            cells=cells,
            rects=places.of_passage(passage),
            page_width=width,
            page_height=height,
            page_url=links.page(passage.job_id, passage.page),
            image_url=links.image(passage.job_id, passage.page, passage.media_type, marked),
        )


#: What is shown as it is.
PASSAGE_FIELDS = frozenset(Citation.model_fields) & frozenset(field.name for field in fields(model.Passage)) - {
    "metadata", "parent", "cells",
}  # fmt: skip


class Sentence(schemas.Body):
    """A sentence of the answer, with the exact place it stands at."""

    text: str
    citation: int = Field(description="The number of the passage it stands in.", ge=1)
    page: int = Field(ge=1)
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    cells: str = Field(description=CELLS_HELP, examples=["B12:F12", ""])
    rects: list[schemas.Rect] = Field(description=RECTS_HELP)

    @classmethod
    def of(cls, sentence: model.Sentence, passages: Sequence[model.Passage]) -> Sentence:
        """The sentence as it is shown; the passages are those of its answer."""
        shown = {name: getattr(sentence, name) for name in cls.model_fields if name not in ("cells", "rects")}
        cells = places.cells_of_sentence(sentence, passages)
        return cls(**shown, cells=cells, rects=places.of_sentence(sentence, passages))


class QueryAnswer(schemas.Body):
    """What was found."""

    question: str
    answer: str | None = Field(description="For reading, with [n] marks; null if no answer was asked for.")
    answered: bool = Field(description="False if nothing in the documents supports an answer.")
    sentences: list[Sentence]
    citations: list[Citation]
    took_ms: float
    scored_by: str = Field(
        description="What the citations' scores come from: `search`, or the name of the reranking model.",
        examples=["search"],
    )
    timings_ms: dict[str, float] = Field(description="Where the time went.")

    @classmethod
    def of(cls, answer: model.Answer) -> QueryAnswer:
        """The answer as it is shown."""
        return cls(
            question=answer.question,
            answer=answer.text,
            answered=answer.answered,
            sentences=[Sentence.of(sentence, answer.citations) for sentence in answer.sentences],
            citations=[Citation.of(number, passage) for number, passage in enumerate(answer.citations, 1)],
            took_ms=round(answer.took_ms, 3),
            scored_by=answer.scored_by,
            timings_ms={name: round(ms, 3) for name, ms in answer.timings_ms.items()},
        )
