"""What a person sees when the system starts: ready, and on the first start the samples and one answered question."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from importlib import resources
from pathlib import Path

import httpx

from datadistiller.cli import ask, ground
from datadistiller.settings import Settings

COLLECTION = "samples"
QUESTION = "Why did the lamp at Grey Skerry go dark?"
TELL_SECONDS = 15.0
_FINISHED = {"completed", "partial", "failed", "cancelled"}


def say(line: str) -> None:
    """A line for the person at the terminal."""
    with contextlib.suppress(OSError):  # the terminal may be gone; the system goes on
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def samples_folder() -> Path | None:
    """Where the sample documents are: in a checkout beside the package's source, in a wheel inside the package."""
    checkout = Path(__file__).parents[3] / "samples"
    installed = Path(str(resources.files("datadistiller"))) / "samples"
    return next((folder for folder in (installed, checkout) if folder.is_dir()), None)


async def greet(settings: Settings, stop: asyncio.Event, *, samples: bool) -> None:
    """Waits until the system is ready and says so; takes in the samples once per data folder."""
    url = ground.url_of(settings.host, settings.port)
    begun = time.monotonic()
    key = settings.bootstrap_key.get_secret_value()
    async with httpx.AsyncClient(
        base_url=url, timeout=30, headers={"Authorization": f"Bearer {key}"} if key else {}
    ) as http:
        await _until_ready(http, stop)
        seconds = time.monotonic() - begun
        marker = settings.data_dir / "samples-done"
        samples = samples and (bool(key) or not settings.key_required)  # without a key nobody lets us in
        if samples and not marker.exists() and not stop.is_set():
            try:
                await _take_in_samples(http)
                marker.touch()
            except httpx.HTTPError:
                say("The samples could not be taken in; the next start tries again.")
    if not stop.is_set():
        say(f"DataDistiller is running at {url} (ready after {seconds:.1f} s; API documentation: {url}/docs)")
        say("Ctrl-C stops it.")


async def _until_ready(http: httpx.AsyncClient, stop: asyncio.Event) -> None:
    """Waits, and says every quarter of a minute what for."""
    waits, tell_at = "the API has not answered yet", time.monotonic() + TELL_SECONDS
    while not stop.is_set():
        with contextlib.suppress(httpx.TransportError):
            ready = await http.get("/readyz")
            if ready.status_code == 200:
                return
            waits = ready.json().get("detail", "")
        if time.monotonic() > tell_at:
            say(f"  still waiting: {waits}")
            tell_at = time.monotonic() + TELL_SECONDS
        await asyncio.sleep(0.05)


async def _take_in_samples(http: httpx.AsyncClient) -> None:
    folder = samples_folder()
    if folder is None:
        return
    say("First start: taking in the sample documents")
    jobs = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix and p.name != "README.md"):
        answer = await http.post(
            "/api/v2/documents/upload", files={"file": (path.name, path.read_bytes())}, data={"collection": COLLECTION}
        )
        answer.raise_for_status()
        jobs[answer.json()["job_id"]] = path.name
    for job, name in jobs.items():
        while True:
            state = (await http.get(f"/api/v2/documents/status/{job}")).raise_for_status().json()
            if state["status"] in _FINISHED:
                break
            await asyncio.sleep(0.05)
        say(f"  {name:40} {state['status']:10} {state['total_chunks'] or 0:4} chunks")
    await _ask(http)


async def _ask(http: httpx.AsyncClient) -> None:
    body = {"question": QUESTION, "collection": COLLECTION, "top_k": 3}
    answer = (await http.post("/api/v2/query", json=body)).raise_for_status().json()
    say(f"\nYou could ask: {QUESTION}\n")
    ask.show(answer)
    say("")
