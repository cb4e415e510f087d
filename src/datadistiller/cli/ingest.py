"""``datadistiller ingest``: files and folders go in, with progress, and a table at the end."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from datadistiller import errors
from datadistiller.cli import client, output
from datadistiller.cli.records import Records
from datadistiller.parsing import formats

PARALLEL = 4
#: Documents asked about in one request, and the pauses between two: short for a few, longer for many.
BATCH = 100
POLL_SECONDS, MAX_POLL_SECONDS = 0.2, 1.0
WATCH_SECONDS = 1.0
#: How many of the files that were left out are named.
NAMED = 5
#: A file that grew within this time is still being written, seconds.
SETTLED_SECONDS = 1.0


@dataclass(slots=True)
class Upload:
    """One file on its way: its job, or why there is none."""

    path: Path
    size: int
    job_id: str = ""
    job: dict[str, Any] | None = None
    refused: str = ""
    duplicate: bool = False
    inside: str = ""  # of a file that lies in an uploaded one: the way to it
    opened: bool = False  # the documents in it are known

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return f"{self.path}: {self.inside}" if self.inside else str(self.path)

    @property
    def finished(self) -> bool:
        """Nothing more will happen."""
        return bool(self.refused) or (self.job is not None and self.job["status"] in client.FINISHED)

    @property
    def status(self) -> str:
        """A word for the table."""
        if self.refused:
            return "refused"
        return str(self.job["status"]) if self.job else "pending" if self.job_id else "waiting"

    @property
    def silent(self) -> bool:
        """It lies in an uploaded file and holds no text: what it lies in names it, and nobody misses more."""
        code = ((self.job or {}).get("error") or {}).get("code")
        return bool(self.inside) and self.status == "failed" and code == errors.NoText.code

    @property
    def good(self) -> bool:
        """Searchable, all of it."""
        return self.status == "completed"


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go, and what is sent with each."""

    server: client.Client
    collection: str
    records: Records
    password: str = field(default="", repr=False)  # of those that are encrypted


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    collection: Annotated[str, typer.Option(help="The set of documents they go into.")] = "default",
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and take in what appears or changes.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="With --watch: delete what leaves a folder.")] = False,
    password: Annotated[bool, typer.Option("--password", help="Ask for the password of the files.")] = False,
    as_json: client.AsJson = False,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Upload files and folders and wait until they are searchable. Exit code 1 if any was not.

    Pictures and the like that are attached to mails or packed in archives, and hold no text, do not count.
    """
    if delete and not watch:
        raise errors.RequestError("--delete goes with --watch.", hint="Add --watch, or use 'datadistiller delete'.")
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise errors.RequestError(f"There is no file or folder {missing[0]}.", hint="Check the path.")
    given = typer.prompt("Password of the files", hide_input=True, err=True) if password else ""
    with client.Client(url) as server:
        server.get("/livez")  # a wrong address shows at once
    with client.Client(url, patient=True) as server:
        server.get("/api/v2/documents", limit=1)  # and so does a wrong key; in the middle of an upload it would not
        records = Records(server.url, collection)
        target = Target(server, collection, records, given)
        uploads = take_in(target, list(files_of(paths)), quiet=as_json)
        report(uploads, as_json)
        if others := left_out(paths):
            typer.echo(others, err=True)
        if watch:
            known = {u.path: stamp(u.path) for u in uploads if u.path.exists()}
            Watch(target, paths, delete, as_json).run(known)
    if not all(upload.good or upload.silent for upload in uploads):
        raise typer.Exit(1)


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those in the folders named that are of a supported type."""
    for path in paths:
        if path.is_dir():
            yield from (p for p in visible(path) if p.suffix.lower() in formats.extensions())
        else:
            yield path


def visible(folder: Path) -> Iterator[Path]:
    """The files in a folder, in order, but none that is hidden or in a hidden folder."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def left_out(paths: Iterable[Path]) -> str:
    """What is said of the files in folders that are of no supported type; empty if there are none."""
    inside = itertools.chain.from_iterable(visible(path) for path in paths if path.is_dir())
    names = [path.name for path in inside if path.suffix.lower() not in formats.extensions()]
    if not names:
        return ""
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    number = "1 file of another type was" if len(names) == 1 else f"{len(names)} files of other types were"
    return f"{number} left out: {shown}."


def take_in(target: Target, paths: list[Path], *, quiet: bool) -> list[Upload]:
    """Uploads all files, a few at a time, and follows them to their end. A changed one is a version of its document."""
    uploads = [Upload(path, path.stat().st_size) for path in paths]
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        running = [pool.submit(_upload, target, upload) for upload in uploads]
        with _progress(quiet) as bars:
            _follow(target.server, uploads, running, bars)
    finally:
        pool.shutdown(cancel_futures=True)
        save(target.records)
    return uploads


def save(records: Records) -> None:
    """Without them changed files become new documents: that is no reason to fail."""
    try:
        records.save()
    except OSError as error:
        typer.echo(f"Which file is which document could not be noted ({error.strerror}).", err=True)


def _progress(quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    return Progress(*columns, console=output.console(), disable=quiet)


def _follow(server: client.Client, uploads: list[Upload], running: list[Future[None]], bars: Progress) -> None:
    """Shows how far the files are until all are finished; raises what an upload raised."""
    sent = bars.add_task("Uploading", total=sum(u.size for u in uploads) or 1, note="")
    made = bars.add_task("Processing", total=100 * len(uploads) or 1, note="")
    begun = time.monotonic()
    while not all(upload.finished for upload in uploads):
        refresh(server, uploads)
        look_inside(server, uploads)
        _show(bars, sent, made, uploads, time.monotonic() - begun)
        for future in running:
            if future.done():
                future.result()
        time.sleep(pause(uploads))
    _show(bars, sent, made, uploads, time.monotonic() - begun)


def pause(uploads: Iterable[Upload]) -> float:
    """How long to wait before asking again, seconds: what asks takes its time from what works."""
    waiting = sum(bool(upload.job_id) and not upload.finished for upload in uploads)
    return min(MAX_POLL_SECONDS, POLL_SECONDS * (1 + waiting / 25))


def _upload(target: Target, upload: Upload) -> None:
    try:
        accepted = _send(target, upload.path, target.records.document_of(upload.path))
    except errors.RequestError as error:
        upload.refused = f"{error.message} {error.hint}"
    except OSError as error:
        upload.refused = f"The file cannot be read ({error.strerror})."
    else:
        upload.duplicate = bool(accepted["duplicate"])
        upload.job_id = accepted["job_id"]
        target.records.note(upload.path, upload.job_id, duplicate=upload.duplicate)


def _send(target: Target, path: Path, document: str | None) -> Any:
    """A new version of the document, if there is one and it is still there; else a new document."""
    fields = {"priority": "bulk", **({"password": target.password} if target.password else {})}
    if document is not None:
        try:
            return target.server.upload(path, fields, document)
        except errors.JobNotFound:
            pass  # somebody deleted it
    return target.server.upload(path, {"collection": target.collection, **fields})


def refresh(server: client.Client, uploads: Iterable[Upload]) -> None:
    """Asks about the oldest unfinished documents, which change next; about later ones only if all those are done."""
    waiting = [upload for upload in uploads if upload.job_id and not upload.finished]
    for at in range(0, len(waiting), BATCH):
        batch = waiting[at : at + BATCH]
        answer = server.get("/api/v2/documents", job_id=[upload.job_id for upload in batch])
        found = {job["job_id"]: job for job in answer["jobs"]}
        for upload in batch:
            upload.job = found.get(upload.job_id, upload.job)
            if upload.job_id not in found:
                upload.refused = "The document was deleted meanwhile."
        if not all(upload.finished for upload in batch):
            return


def look_inside(server: client.Client, uploads: list[Upload]) -> None:
    """Adds the documents that lie in finished ones, attached or packed: they are waited for as well."""
    known = {upload.job_id for upload in uploads}
    for upload in uploads:  # what is added here is looked into too, when it is finished
        if upload.opened or not upload.finished or not (upload.job or {}).get("children"):
            continue
        upload.opened = True
        cursor: str | None = ""
        while cursor is not None:
            page = server.get(f"/api/v2/documents/{upload.job_id}/children", limit=BATCH, cursor=cursor or None)
            cursor = page["next_cursor"]
            for child in page["children"]:
                job = child["job"]
                if job is not None and job["job_id"] not in known:
                    known.add(job["job_id"])
                    way = " > ".join(part for part in (upload.inside, child["path"]) if part)
                    uploads.append(Upload(upload.path, child["size"], job["job_id"], job, inside=way))


def _show(bars: Progress, sent: TaskID, made: TaskID, uploads: list[Upload], seconds: float) -> None:
    there = [u for u in uploads if u.job_id or u.refused]
    given = [u for u in there if not u.inside]
    size = sum(u.size for u in given)
    number = sum(not u.inside for u in uploads)
    bars.update(sent, completed=size, note=f"{len(given)}/{number} files, {output.size(size)}")
    done = [u for u in uploads if u.finished]
    chunks = sum(u.job.get("processed_chunks") or 0 for u in uploads if u.job)
    stages: dict[str, int] = {}
    for upload in there:
        stages[upload.status] = stages.get(upload.status, 0) + 1
    words = ", ".join(f"{n} {status}" for status, n in sorted(stages.items()))
    progress = sum(100 if u.finished else (u.job["progress"] if u.job else 0) for u in uploads)
    rate = chunks / seconds if seconds > 1 else 0.0
    note = f"{len(done)}/{len(uploads)} done ({words}), {chunks} chunks, {rate:.0f} chunks/s"
    bars.update(made, completed=progress, total=100 * len(uploads) or 1, note=note)


def report(uploads: list[Upload], as_json: bool) -> None:
    """What became of each file: all in JSON, in a table those that need a look, and a sum."""
    if as_json:
        output.as_json([_as_json(upload) for upload in uploads])
        return
    out = output.console()
    shown = output.table("job", "file", "size", "status", "chunks", "why")
    shown.columns[0].no_wrap = True  # 'retry' and 'status' want it whole
    for upload in uploads:
        if len(uploads) <= 30 or not (upload.good or upload.silent):
            chunks = str((upload.job or {}).get("total_chunks") or "")
            why = upload.refused or output.reason(upload.job or {}) or ("already there" if upload.duplicate else "")
            words = (output.plain(upload.name), output.size(upload.size), output.styled(upload.status), chunks)
            shown.add_row(upload.job_id, *words, output.plain(why))
    out.print(shown)
    good = sum(upload.good for upload in uploads)
    silent = sum(upload.silent for upload in uploads)
    whole = good + silent == len(uploads)
    out.print(f"{good} of {len(uploads)} files are searchable.", style="green" if whole else "red")
    if silent:
        which = "1 attached or packed file holds" if silent == 1 else f"{silent} attached or packed files hold"
        out.print(f"{which} no text. What is around them names them, and is found by that.")


def _as_json(upload: Upload) -> dict[str, Any]:
    path, refused = str(upload.path), upload.refused or None
    return {
        "path": path,
        "inside": upload.inside or None,
        "status": upload.status,
        "duplicate": upload.duplicate,
        "refused": refused,
        "job": upload.job,
    }


def stamp(path: Path) -> tuple[int, int]:
    """Changes when a file does."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Watch:
    """Takes in what appears or changes in some files and folders."""

    target: Target
    paths: list[Path]
    delete: bool  # documents of files that are removed from the folders
    as_json: bool

    def run(self, known: dict[Path, tuple[int, int]]) -> None:
        """Goes on until Ctrl-C; ``known`` are the files that are in already."""
        while True:
            time.sleep(WATCH_SECONDS)
            self.look(known)

    def look(self, known: dict[Path, tuple[int, int]]) -> None:
        """Looks once."""
        found = {path: stamp(path) for path in files_of(p for p in self.paths if p.exists())}
        now = time.time_ns()
        fresh = [p for p, s in found.items() if known.get(p) != s and now - s[1] > SETTLED_SECONDS * 1e9]
        if fresh:
            report(take_in(self.target, fresh, quiet=self.as_json), self.as_json)
            known |= {path: found[path] for path in fresh}
        if self.delete:
            self._delete_removed()

    def _delete_removed(self) -> None:
        for path, document in self.target.records.removed(self.paths):
            if document is not None:
                with contextlib.suppress(errors.JobNotFound):
                    self.target.server.delete(f"/api/v2/documents/{document}")
                typer.echo(f"{path} is removed; its document is deleted.", err=True)
            self.target.records.forget(path)
        save(self.target.records)
