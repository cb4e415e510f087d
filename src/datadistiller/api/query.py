"""POST /api/v2/query: a question gets passages and an answer, as JSON or as a stream of events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Response

from datadistiller import errors, settings
from datadistiller.api import answers, checks, problems, sse
from datadistiller.api.body import BoundedRoute
from datadistiller.api.parts import Parts

EXAMPLE = 'event: citations\ndata: [...]\n\nevent: sentence\ndata: {"text": "..."}\n\nevent: done\ndata: {...}\n\n'

router = APIRouter(prefix="/api/v2", tags=["query"], route_class=BoundedRoute)


@router.post(
    "/query",
    operation_id="query",
    summary="Ask a question",
    response_model=answers.QueryAnswer,
    responses={
        200: {
            "description": "The answer; with `Accept: text/event-stream` as events: `citations`, a `sentence` each, "
            "`done` with all of it.",
            "content": {sse.MEDIA_TYPE: {"schema": {"type": "string"}, "example": EXAMPLE}},
        },
        **problems.documented(errors.BodyTooLarge),
    },
)
async def query(
    body: answers.QueryRequest, parts: Parts, accept: Annotated[str, Header(include_in_schema=False)] = ""
) -> answers.QueryAnswer | Response:
    """Finds the passages that match, and the sentences of them that answer. Every one names its exact place."""
    _check(body, parts.settings)
    begun = time.perf_counter()
    answer = await parts.ask.ask(body.question, body.top_k, body.mode, body.collection, body.filter, body.answer)
    parts.metrics.query_seconds.labels(mode=body.mode.value).observe(time.perf_counter() - begun)
    shown = answers.QueryAnswer.of(answer)
    return sse.stream(_events(shown)) if sse.MEDIA_TYPE in accept.lower() else shown


def _check(body: answers.QueryRequest, limits: settings.Settings) -> None:
    if not body.question.strip():
        raise errors.InvalidRequest(f"The question is empty; it needs 1 to {limits.max_question_chars} characters.")
    if len(body.question) > limits.max_question_chars:
        raise errors.InvalidRequest(
            f"The question has {len(body.question)} characters; the limit is {limits.max_question_chars}."
        )
    if body.top_k > limits.max_top_k:
        raise errors.InvalidRequest(f"top_k is {body.top_k}; it must be from 1 to {limits.max_top_k}.")
    checks.storable(body.question, "question")
    checks.storable(body.filter, "filter")


async def _events(answer: answers.QueryAnswer) -> AsyncIterator[bytes]:
    """Citations first: a reader can look at them while the sentences come."""
    yield sse.event("citations", json.dumps([c.model_dump(mode="json") for c in answer.citations]))
    for sentence in answer.sentences:
        yield sse.event("sentence", sentence.model_dump_json())
    yield sse.event("done", answer.model_dump_json())
