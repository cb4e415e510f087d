"""Errors as ``application/problem+json`` (RFC 9457): which status, what body, and how OpenAPI shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from datadistiller import errors, model
from datadistiller.api import schemas

MEDIA_TYPE = "application/problem+json"

#: The HTTP status of an error is that of the first of its classes, from itself up, that stands here.
STATUS: Mapping[type[errors.DataDistillerError], int] = {
    errors.JobNotFound: 404,
    errors.PageNotFound: 404,
    errors.VersionNotFound: 404,
    errors.VersionChanged: 412,
    errors.NoPicture: 404,
    errors.DeadLetterNotFound: 404,
    errors.FileEmpty: 400,
    errors.FileTooLarge: 413,
    errors.BodyTooLarge: 413,
    errors.TypeNotSupported: 415,
    errors.Conflict: 409,
    errors.UploadStalled: 408,
    errors.RangeNotSatisfiable: 416,
    errors.SiteRefused: 403,
    errors.KeyNotFound: 404,
    errors.Unauthorized: 401,
    errors.RequestError: 422,
    errors.Overloaded: 429,
    errors.CapacityError: 503,
    errors.Unavailable: 503,
    errors.TransientError: 503,
    errors.DataDistillerError: 500,
}
#: Who may ask is told by a Bearer token (RFC 6750).
REALM = 'Bearer realm="datadistiller"'
#: What every route may raise.
ANY_ROUTE: tuple[type[errors.DataDistillerError], ...] = (
    errors.SiteRefused,
    errors.InvalidRequest,
    errors.DataDistillerError,
    errors.Unavailable,
)
#: Codes of what the web framework refuses by itself.
FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed"}
FRAMEWORK_HINT = "GET /openapi.json lists every call with its parameters; /docs shows them."
INTERNAL = model.Problem(
    "internal_error",
    "The server met an error it did not expect.",
    "Nothing is lost that was accepted. Please report it with the log lines of this X-Request-ID.",
)


def status_of(kind: type[errors.DataDistillerError]) -> int:
    """The HTTP status an error of this class gets."""
    return next(STATUS[base] for base in kind.__mro__ if base in STATUS)


def title_of(kind: type[errors.DataDistillerError]) -> str:
    """The class's own sentence: the same for every occurrence."""
    return (kind.__doc__ or "").strip().split("\n")[0]


def response(
    request: Request, status: int, title: str, problem: model.Problem, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response of one problem."""
    body = schemas.Problem(
        type=f"urn:datadistiller:problem:{problem.code}",
        title=title,
        status=status,
        detail=problem.message,
        code=problem.code,
        hint=problem.hint,
        instance=request.scope.get("raw_path", b"").decode("ascii", errors="replace"),
    )
    return JSONResponse(body.model_dump(), status, dict(headers or {}), media_type=MEDIA_TYPE)


def of_error(request: Request, error: errors.DataDistillerError) -> JSONResponse:
    """The response of an error of ours, with Retry-After where waiting helps, and a challenge where a key does."""
    headers = {}
    status = status_of(type(error))
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(getattr(error, "retry_after", 2.0))))
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = f"{REALM}, {error.challenge}" if error.challenge else REALM
    return response(request, status, title_of(type(error)), error.problem(), headers)


def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
    """The response of parameters or a body that do not fit the schema. Values are not repeated."""
    problem = errors.InvalidRequest(" ".join(_sentence(item) for item in error.errors()[:5])).problem()
    return response(request, 422, title_of(errors.InvalidRequest), problem)


def of_framework(request: Request, error: HTTPException) -> JSONResponse:
    """The response of an unknown path or method, or of a body that could not be decoded."""
    if error.status_code == 400:
        problem = errors.InvalidRequest("The body is not valid JSON in UTF-8.").problem()
        return response(request, 422, title_of(errors.InvalidRequest), problem)
    phrase = HTTPStatus(error.status_code).phrase
    code = FRAMEWORK_CODES.get(error.status_code, "invalid_request")
    problem = model.Problem(code, f"{request.method} {request.url.path}: {phrase.lower()}.", FRAMEWORK_HINT)
    return response(request, error.status_code, phrase, problem, error.headers)


def of_defect(request: Request) -> JSONResponse:
    """The response of an exception nobody expected: nothing of its inside is shown."""
    return response(request, 500, title_of(errors.DataDistillerError), INTERNAL)


def _sentence(item: Mapping[str, Any]) -> str:
    place, *path = item["loc"]
    name = ".".join(str(part) for part in path)
    if item["type"] == "json_invalid":
        return "The body is not valid JSON."
    if not path and place == "body":
        return "The body must be a JSON object, sent with Content-Type: application/json."
    if item["type"] == "string_pattern_mismatch" and item["ctx"]["pattern"] in schemas.RULES:
        return schemas.RULES[item["ctx"]["pattern"]]
    where = f"'{name}' in the {place}" if name else f"The {place}"
    return f"{where}: {item['msg'][:1].lower()}{item['msg'][1:]}."


def documented(*kinds: type[errors.DataDistillerError]) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may raise these; those every route may raise are added.

    Statuses that several classes share list all their codes, with an example of each.
    """
    return responses_of(*kinds, *ANY_ROUTE)


def responses_of(*kinds: type[errors.DataDistillerError]) -> dict[int | str, dict[str, Any]]:
    """The same without what every route may raise."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status = status_of(kind)
        entry = found.setdefault(status, {"description": HTTPStatus(status).phrase, "content": _content()})
        entry["content"][MEDIA_TYPE]["examples"][kind.code] = {"summary": title_of(kind), "value": _example(kind)}
        if issubclass(kind, errors.Unauthorized):
            entry["headers"] = {"WWW-Authenticate": {"description": "How to ask.", "schema": {"type": "string"}}}
        if status in (429, 503):
            entry["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return found


def _content() -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}}


def _example(kind: type[errors.DataDistillerError]) -> dict[str, Any]:
    return schemas.Problem(
        type=f"urn:datadistiller:problem:{kind.code}",
        title=title_of(kind),
        status=status_of(kind),
        detail=title_of(kind),
        code=kind.code,
        hint=kind.default_hint,
        instance="/api/v2/documents",
    ).model_dump()
