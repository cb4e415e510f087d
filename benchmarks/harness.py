"""A live ``datadistiller up`` to measure: started in a temporary folder, driven over HTTP, stopped at the end.

CPU and memory are read from /proc through psutil for the whole process tree, per role. CPU of children
that ended is counted by their parents, as the kernel does when a child is reaped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

import datadistiller
from datadistiller.store import embedded

DATA = Path(os.environ.get("DATADISTILLER_DATA", "../shared/data"))
FINISHED = {"completed", "failed", "partial", "cancelled"}


def free_port() -> int:
    """A TCP port of the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One running system. ``start`` may be called again after ``kill`` on the same data folder."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, **{f"DATADISTILLER_{k.upper()}": str(v) for k, v in settings.items()}}
        self.env["DATADISTILLER_NO_SAMPLES"] = "1"
        # The children must run this very code, however it came onto our own path.
        self.env["PYTHONPATH"] = str(Path(datadistiller.__file__).parent.parent)
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=60, limits=httpx.Limits(max_connections=16))

    @property
    def database(self) -> str:
        """The connection string of its database."""
        return embedded.url_of(self.folder / "postgres")

    def start(self) -> float:
        """Starts the system; returns the seconds until it was ready."""
        begun = time.perf_counter()
        argv = [sys.executable, "-m", "datadistiller", "up", "--data-dir", str(self.folder), "--port", str(self.port)]
        with (self.folder.parent / f"{self.folder.name}.up.log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log, start_new_session=True)
        return self.until_ready(begun)

    def until_ready(self, begun: float) -> float:
        """Waits until it is ready; the seconds since it was begun."""
        assert self.process is not None
        while time.perf_counter() - begun < 120:
            if self.process.poll() is not None:
                raise RuntimeError(f"'up' ended with {self.process.returncode}; see the .up.log beside {self.folder}")
            with contextlib.suppress(httpx.TransportError):
                if self.http.get("/readyz").status_code == 200:
                    return time.perf_counter() - begun
            time.sleep(0.02)
        raise RuntimeError(f"'up' is not ready after two minutes; see the .up.log beside {self.folder}")

    def tree(self) -> list[psutil.Process]:
        """All processes of the system, the supervisor first."""
        assert self.process is not None
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def kill_everything(self) -> None:
        """SIGKILL to every process of the tree, the supervisor first."""
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert self.process is not None
        self.process.wait()

    def stop(self) -> None:
        """A clean stop, as Ctrl-C does it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=90)

    def upload(self, name: str, content: bytes, **fields: str) -> dict[str, Any]:
        """Uploads one file, waiting where the server says so; returns the 202's body."""
        for _ in range(100):
            answer = self.http.post("/api/v2/documents/upload", files={"file": (name, content)}, data=fields)
            if answer.status_code not in (429, 503):
                break
            time.sleep(float(answer.headers.get("Retry-After", "1")))
        answer.raise_for_status()
        return dict(answer.json())

    def upload_all(self, files: Iterable[tuple[str, bytes]], parallel: int = 4, **fields: str) -> list[str]:
        """Uploads many files; returns their job ids."""
        with ThreadPoolExecutor(parallel) as pool:
            return list(pool.map(lambda f: str(self.upload(f[0], f[1], **fields)["job_id"]), files))

    def status(self, job_id: str) -> dict[str, Any]:
        """The status of one job."""
        return dict(self.http.get(f"/api/v2/documents/status/{job_id}").raise_for_status().json())

    def wait(
        self, job_ids: Iterable[str], seconds: float = 900, look_seconds: float = 0.25
    ) -> dict[str, dict[str, Any]]:
        """Waits until all jobs are finished; returns their last status. Looks seldom: each look costs CPU here."""
        until = time.monotonic() + seconds
        result: dict[str, dict[str, Any]] = {}
        for job_id in job_ids:
            while (state := self.status(job_id))["status"] not in FINISHED:
                if time.monotonic() > until:
                    raise TimeoutError(f"job {job_id} is still {state['status']} after {seconds} s")
                time.sleep(look_seconds)
            result[job_id] = state
        return result

    def query(self, question: str, **more: object) -> dict[str, Any]:
        """Asks one question."""
        return dict(self.http.post("/api/v2/query", json={"question": question, **more}).raise_for_status().json())

    def cpu_by_role(self) -> dict[str, float]:
        """CPU seconds spent so far, by role, ended children included."""
        return _by_role(self.tree(), lambda p: sum(p.cpu_times()[:4]))

    def memory_by_role(self) -> dict[str, float]:
        """Proportional set size (shared pages counted once) in MB, by role."""
        return _by_role(self.tree(), lambda p: p.memory_full_info().pss / 1e6)


def role_of(process: psutil.Process) -> str:
    """Which part of the system a process is, from its command line; ``gone`` if it ended meanwhile."""
    try:
        line, name = " ".join(process.cmdline()), process.name()
    except psutil.NoSuchProcess:
        return "gone"
    if "parsing.child" in line:
        return "parser"
    if "--roles" in line:
        return line.split("--roles")[1].split()[0].strip("=")
    return "postgres" if "postgres" in name else "supervisor"


def _by_role(processes: list[psutil.Process], measure: Any) -> dict[str, float]:
    sums: dict[str, float] = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            role = role_of(process)
            sums[role] = sums.get(role, 0.0) + measure(process)
    return sums


@contextlib.contextmanager
def running(**settings: object) -> Iterator[Server]:
    """A fresh system in a temporary folder; stopped and removed at the end."""
    scratch = Path(tempfile.mkdtemp(prefix="dd-bench-"))
    scratch.chmod(0o755)
    server = Server(scratch / "data", **settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.http.close()
        shutil.rmtree(scratch, ignore_errors=True)


def corpus_texts() -> Iterator[str]:
    """Real English text, endless pieces of the public test collections in DATADISTILLER_DATA."""
    for name in ("scifact_train", "cisi", "med", "cacm", "cranfield", "squad2", "time"):
        with (DATA / "retrieval" / name / "corpus.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                yield f"{record.get('title', '')}\n\n{record['text']}\n\n"


def small_documents(count: int, size: int = 2000) -> list[tuple[str, bytes]]:
    """``count`` different text files of ``size`` bytes of real text."""
    files: list[tuple[str, bytes]] = []
    pending = b""
    for text in corpus_texts():
        pending += text.encode()
        while len(pending) >= size and len(files) < count:
            piece = pending[:size].decode(errors="ignore")
            files.append((f"note-{len(files):05}.txt", piece.encode()))
            pending = pending[size:]
        if len(files) == count:
            break
    return files


def large_texts(count: int, size: int = 100_000) -> list[tuple[str, bytes]]:
    """``count`` different text files of ``size`` bytes of real text."""
    return [(f"volume-{n:03}.txt", content) for n, (_, content) in enumerate(small_documents(count, size))]


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` (0-1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
