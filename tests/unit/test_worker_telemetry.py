"""Log lines and metrics: ids and codes, never what is in a document."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from datadistiller import errors
from datadistiller.runtime import telemetry

SECRET = "the text of a document"


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    root = logging.getLogger()
    before, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = before, raising
    root.setLevel(level)
    structlog.reset_defaults()


def logged(form: str = "json") -> io.StringIO:
    out = io.StringIO()
    telemetry.configure_logging("info", form, out)
    return out


def fail() -> None:
    raise ValueError(SECRET)


def test_a_line_is_one_json_object_with_the_bound_ids() -> None:
    out = logged()
    with structlog.contextvars.bound_contextvars(job_id="j1"):
        structlog.get_logger().info("done", message_id=7)
        logging.getLogger("a.library").warning("said %s", "something")
    ours, theirs = map(json.loads, out.getvalue().splitlines())
    assert (ours["event"], ours["message_id"], ours["job_id"], ours["level"]) == ("done", 7, "j1", "info")
    assert (theirs["event"], theirs["job_id"], theirs["level"]) == ("said something", "j1", "warning")


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_shows_its_place_and_not_its_message(form: str) -> None:
    out = logged(form)
    for log in (structlog.get_logger().error, logging.getLogger("a.library").error):
        try:
            fail()
        except ValueError:
            log("failed", exc_info=True)
    assert SECRET not in out.getvalue()
    assert out.getvalue().count("test_worker_telemetry.py") >= 2
    assert "ValueError" in out.getvalue()


def test_our_own_errors_show_their_message_and_code() -> None:
    out = logged()
    structlog.get_logger().error("failed", exc_info=errors.NoText())
    line = json.loads(out.getvalue())
    assert (line["code"], line["error"]) == ("no_text", "The document holds no text.")


def test_metrics_of_two_objects_are_apart() -> None:
    one, other = telemetry.Metrics(), telemetry.Metrics()
    one.attempts.labels("embed", "done").inc()
    assert b'outcome="done"' in generate_latest(one.registry())
    assert b'outcome="done"' not in generate_latest(other.registry())


COUNT = """
import sys
from datadistiller.runtime import telemetry
telemetry.name_process(sys.argv[1])
telemetry.Metrics().attempts.labels("embed", "done").inc()
"""


def test_processes_share_a_folder_and_count_on_after_a_restart(tmp_path: Path) -> None:
    source = str(Path(telemetry.__file__).parents[2])
    for name in ("embed-1", "embed-2", "embed-1"):
        env = {telemetry.MULTIPROCESS_VARIABLE: str(tmp_path), "PYTHONPATH": source}
        subprocess.run([sys.executable, "-c", COUNT, name], env=env, check=True)
    together = CollectorRegistry()
    MultiProcessCollector(together, path=str(tmp_path))  # type: ignore[no-untyped-call]  # has no types
    value = together.get_sample_value("datadistiller_attempts_total", {"stage": "embed", "outcome": "done"})
    assert value == 3
    assert {path.name.split("_")[1] for path in tmp_path.iterdir()} == {"embed-1.db", "embed-2.db"}
