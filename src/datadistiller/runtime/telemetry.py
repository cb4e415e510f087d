"""What a process tells about itself: structured log lines, and metrics in a registry that is passed around.

Log lines and metric labels hold ids, counts and error codes; never document text, never a credential. For that
reason an unexpected exception is logged as its type and its frames (file, line, function): its message may quote
the text it choked on.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from datadistiller import errors

#: Where the multi-process mode of prometheus_client keeps its files; it reads this when it is first imported.
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MAX_FRAMES = 20

_VECTORS = "Vectors given to chunks, by source: computed, found (another chunk has the text), repeated (in a batch)."
_STAGE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_UPLOAD_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 5, 30)
_QUERY_BUCKETS = (0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.075, 0.15, 0.3, 1, 3)


def configure_logging(level: str, form: str, stream: TextIO | None = None) -> None:
    """Sends the log lines of this process, our own and those of libraries, to ``stream`` (standard error).

    ``form`` is ``json`` (one object a line) or ``text``. Fields bound with ``structlog.contextvars`` are on each line.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        describe_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    render: Any = structlog.processors.JSONRenderer()
    if form == "text":
        render = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # A full disk or a closed pipe under the log must not fail the work that logs.
    logging.raiseExceptions = False
    for noisy in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def describe_exception(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: ``exc_info`` becomes ``error_type``, ``frames`` and, for our own errors, ``error``."""
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event["error_type"] = type(error).__name__
        event["frames"] = frames(error.__traceback__)
        if isinstance(error, errors.DataDistillerError):
            event["error"], event["code"] = error.message, error.code
    return event


def frames(trace: TracebackType | None) -> list[str]:
    """Where an exception came from, outermost first, at most 20 lines ``file:line function``; no values."""
    summary = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return [f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}" for frame in summary]


def name_process(name: str) -> None:
    """Makes a process that is started again go on counting where it was killed, in the files of its name.

    To be called before any metric is made. The library would use the process id: each restart would then leave
    files behind for ever.
    """
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]  # has no types


class Metrics:
    """The counters and histograms of one process, in a registry of its own.

    Under ``up`` the processes share a folder (``PROMETHEUS_MULTIPROC_DIR``) and each can show the sum of all.
    """

    def __init__(self, shared_folder: Path | None = None) -> None:
        self._shared_folder = shared_folder
        self._own = CollectorRegistry()
        self.stage_seconds = Histogram(
            "datadistiller_stage_seconds",
            "Seconds from the begin of a batch of messages to its outcomes, waiting for its turn included.",
            ["stage"],
            registry=self._own,
            buckets=_STAGE_BUCKETS,
        )
        self.attempts = Counter(
            "datadistiller_attempts",
            "Messages that left a stage, by outcome: done, transient, permanent, capacity, refused, cancelled, lost.",
            ["stage", "outcome"],
            registry=self._own,
        )
        self.vectors = Counter("datadistiller_vectors", _VECTORS, ["source"], registry=self._own)
        self.published = Counter(
            "datadistiller_published",
            "Records that the relay published, by topic; those published again count again.",
            ["topic"],
            registry=self._own,
        )
        self.uploads_seconds = Histogram(
            "datadistiller_uploads_seconds",
            "Seconds from the first byte of an upload to its answer.",
            registry=self._own,
            buckets=_UPLOAD_BUCKETS,
        )
        self.query_seconds = Histogram(
            "datadistiller_query_seconds",
            "Seconds a question took, by mode.",
            ["mode"],
            registry=self._own,
            buckets=_QUERY_BUCKETS,
        )

    def count_vectors(self, source: str, number: int) -> None:
        """Counts vectors by where they came from."""
        self.vectors.labels(source).inc(number)

    def registry(self) -> CollectorRegistry:
        """What to expose: this process's metrics, or those of all processes that share the folder."""
        if self._shared_folder is None:
            return self._own
        together = CollectorRegistry()
        MultiProcessCollector(together, path=str(self._shared_folder))  # type: ignore[no-untyped-call]  # has no types
        return together
