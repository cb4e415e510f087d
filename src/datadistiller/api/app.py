"""The FastAPI application, and the OpenAPI schema as clients generate from it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

import datadistiller
from datadistiller import errors, settings, wiring
from datadistiller.api import (
    access,
    answers,
    children,
    dead_letters,
    doctor,
    documents,
    events,
    health,
    index,
    keys,
    metrics,
    middleware,
    pages,
    problems,
    query,
    report,
    schemas,
    status,
    upload,
    versions,
)
from datadistiller.api.admission import Admission, Limits

DESCRIPTION = "Drop documents in, ask questions, get answers with exact citations. Errors are problem+json (RFC 9457)."
#: Events before status, status before documents: the first route that fits is taken.
RESOURCES = (
    upload,
    events,
    status,
    pages,
    documents,
    children,
    versions,
    report,
    query,
    dead_letters,
    doctor,
    index,
    keys,
    health,
    metrics,
)
REF = "#/components/schemas/{model}"


def create_app(parts: wiring.ApiParts, stop: asyncio.Event | None = None) -> FastAPI:
    """The application on these parts. ``stop`` ends the streams of status events when it is set."""
    # The pages of the documentation come with it: FastAPI's own load their scripts from elsewhere.
    app = FastAPIOffline(title="DataDistiller", version=datadistiller.__version__, description=DESCRIPTION)
    app.state.parts = parts
    app.state.stop = stop or asyncio.Event()
    app.state.comparing = asyncio.Lock()
    app.state.admission = Admission(parts.objects, parts.jobs, _limits(parts.settings))
    for resource in RESOURCES:
        app.include_router(resource.router)
    app.add_api_route("/", _root, include_in_schema=False)
    app.add_exception_handler(errors.DataDistillerError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_framework)
    if parts.settings.key_required:
        keyring = access.Keyring(parts.keys, parts.settings.bootstrap_key.get_secret_value())
        app.add_middleware(access.KeyRequired, keyring=keyring, metrics_public=parts.settings.metrics_public)
    else:
        app.add_middleware(middleware.LoopbackOnly)
    app.add_middleware(middleware.Observed)
    schema = _schema(app, parts.settings)
    app.openapi = lambda: schema  # type: ignore[method-assign]  # how FastAPI documents extending it
    return app


def _limits(values: settings.Settings) -> Limits:
    return Limits(values.max_upload_bytes, values.max_pending_jobs, values.min_free_disk_bytes)


async def _root() -> Response:
    return RedirectResponse("/docs")


async def _on_error(request: Request, error: Exception) -> Response:
    return problems.of_error(request, cast(errors.DataDistillerError, error))


async def _on_validation(request: Request, error: Exception) -> Response:
    return problems.of_validation(request, cast(RequestValidationError, error))


async def _on_framework(request: Request, error: Exception) -> Response:
    return problems.of_framework(request, cast(HTTPException, error))


def _schema(app: FastAPI, values: settings.Settings) -> dict[str, Any]:
    """FastAPI's schema, with what it cannot know: our bodies of errors and forms, and the limits of the settings."""
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = schema["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    components["Problem"] = schemas.Problem.model_json_schema(mode="serialization", ref_template=REF)
    components["UploadForm"] = schemas.UploadForm.model_json_schema(ref_template=REF)
    components["VersionForm"] = versions.VersionForm.model_json_schema(ref_template=REF)
    components["VersionForm"]["required"] = ["file"]
    _secure(schema, values)
    question = components["QueryRequest"]["properties"]
    longest = values.max_question_chars
    question["question"] |= {"minLength": 1, "maxLength": longest, "pattern": answers.QUESTION_PATTERN}
    question["top_k"]["maximum"] = values.max_top_k
    return schema


def _secure(schema: dict[str, Any], values: settings.Settings) -> None:
    """Says which calls need a key on this server, and how they refuse one that has none."""
    schema["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key made by POST /api/v2/keys: dd_..."}
    }
    if not values.key_required:
        return
    refusals = {str(status): r for status, r in problems.responses_of(errors.KeyRequired, errors.KeyInvalid).items()}
    for path, calls in schema["paths"].items():
        if access.is_open(path, values.metrics_public):
            continue
        for call in calls.values():
            call["security"] = [{"key": []}]
            call["responses"] |= refusals
