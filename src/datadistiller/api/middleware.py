"""Around every request: its id, one log line, a bound on how many run, and who may call at all."""

from __future__ import annotations

import ipaddress
import re
import time
import uuid
from urllib.parse import urlsplit

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datadistiller import errors
from datadistiller.api import problems

#: Requests in flight, streams included; more are answered 429 at once.
REQUESTS_AT_ONCE = 500
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Asked every few seconds by machines: logged for debugging only.
QUIET = frozenset({"/health", "/livez", "/readyz", "/metrics"})
#: The same, for those who wait for documents: only a refusal is worth a line.
POLLED = frozenset({("GET", "/api/v2/documents"), ("GET", "/api/v2/documents/status/{job_id}")})
#: The status logged for a client that left before its answer.
LEFT = 499

_log = structlog.get_logger(__name__)


class Observed:
    """Gives each request an id (or takes a sound one from X-Request-ID), logs it, and answers defects.

    The log line has method, route template, status and milliseconds: no path, no query, no body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex
        answer = _Answer(send, request_id)
        begun = time.perf_counter()
        self._in_flight += 1
        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                await self._run(scope, receive, answer)
                _record(scope, answer.status, time.perf_counter() - begun)
        finally:
            self._in_flight -= 1

    async def _run(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            if self._in_flight > REQUESTS_AT_ONCE:
                raise errors.Overloaded(f"{REQUESTS_AT_ONCE} requests are running already.", retry_after=1)
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            answer.status = LEFT
        except errors.Overloaded as error:
            await problems.of_error(Request(scope), error)(scope, receive, answer)
        except Exception:
            _log.exception("request_failed")
            if answer.status:
                raise  # too late for an answer: the server closes the connection
            await problems.of_defect(Request(scope))(scope, receive, answer)


class _Answer:
    """Passes an answer on, with the request's id, and remembers its status (0 before it began)."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self._send = send
        self._request_id = request_id

    async def __call__(self, message: Message) -> None:
        """One message of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = self._request_id
        await self._send(message)


def _record(scope: Scope, status: int, seconds: float) -> None:
    template = getattr(scope.get("route"), "path", "none")
    polled = status < 400 and (scope["method"], template) in POLLED
    write = _log.debug if polled or template in QUIET else _log.info
    write("request", method=scope["method"], route=template, status=status, ms=round(1000 * seconds, 1))


class LoopbackOnly:
    """Keeps other sites' pages from calling a server that has no authentication.

    A page can make a browser call 127.0.0.1 in two ways: directly (its Origin tells) and by a host name of
    its own that resolves here, "DNS rebinding" (the Host header tells). Programs are not touched by either.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await problems.of_error(Request(scope), refusal)(scope, receive, send)


def _refusal(scope: Scope) -> errors.SiteRefused | None:
    headers = Headers(scope=scope)
    host = headers.get("host")
    if host is not None and not is_loopback(_name(f"//{host}")):
        return errors.SiteRefused("The Host header names another machine than this server is bound to.")
    origin = headers.get("origin")
    if origin is not None and scope["method"] not in SAFE_METHODS and not is_loopback(_name(origin)):
        return errors.SiteRefused("A page of another site may not change anything here.")
    return None


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback addresses."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
