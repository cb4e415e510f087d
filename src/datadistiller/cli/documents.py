"""Commands about documents: jobs, status, cancel, retry, delete."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import typer
from rich.table import Table

from datadistiller import errors, model
from datadistiller.cli import client, output


def jobs(
    status: Annotated[model.Status | None, typer.Option(help="Only those in this status.")] = None,
    collection: Annotated[str | None, typer.Option(help="Only those of this collection.")] = None,
    parent: Annotated[str | None, typer.Option(help="Only those that lie in this document, by its job id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    as_json: client.AsJson = False,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """List documents, newest first."""
    with client.Client(url) as server:
        wanted = status.value if status else None
        inside = client.job_id(parent) if parent else None
        found = server.get("/api/v2/documents", status=wanted, collection=collection, limit=limit, parent=inside)
    if as_json:
        output.as_json(found)
        return
    output.console().print(_list(found["jobs"]))
    if found["next_cursor"]:
        output.console().print("There are more: raise --limit.", style="dim")


def _list(found: list[dict[str, Any]]) -> Table:
    """One line for each; with the reason if any has one."""
    why = ["why"] if any(job["error"] for job in found) else []
    shown = output.table("job", "file", "collection", "status", "progress", "chunks", *why)
    for column in shown.columns:  # an id is copied from here into the next command: only words may be folded
        column.no_wrap = column.header not in ("file", "collection", "why")
    for job in found:
        reason = [output.plain((job["error"] or {}).get("message", ""))] if why else []
        shown.add_row(job["job_id"], output.plain(job["filename"]), job["collection"], output.styled(job["status"]),
                      output.progress(job), str(job["total_chunks"] or ""), *reason)  # fmt: skip
    return shown


def status(
    job: client.Job,
    follow: Annotated[bool, typer.Option("--follow", help="Stay until it is finished.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Show how it was read and what each stage took.")] = False,
    as_json: client.AsJson = False,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Show one document. Exit code 1 if it failed."""
    with client.Client(url) as server:
        if follow:
            for event in server.events(job):
                output.console().print(f"{event['status']:11} {output.progress(event):>5}".rstrip())
        state = server.get(f"/api/v2/documents/{job}/report" if report else f"/api/v2/documents/status/{job}")
    if as_json:
        output.as_json(state)
    elif report:
        _show_report(state)
    else:
        _show(state)
    if state["status"] == "failed":
        raise typer.Exit(1)


def _show(state: dict[str, Any]) -> None:
    """What is known of it so far."""
    shown = output.table("", "")
    state["progress"] = output.progress(state) or None
    for name in ("job_id", "filename", "collection", "media_type", "version", "next_version", "status", "progress",
                 "attempt", "page_count",
                 "total_chunks", "processed_chunks", "failed_chunks", "created_at", "finished_at"):  # fmt: skip
        if state[name] is not None:
            shown.add_row(name, output.plain(str(state[name])))
    if parent := state.get("parent"):
        shown.add_row("in", output.plain(f"{parent['filename']} ({parent['job_id']}): {parent['path']}"))
    if state.get("children"):
        words = ", ".join(f"{number} {name}" for name, number in sorted(state["children"].items()))
        shown.add_row("children", words)
    if state["error"]:
        shown.add_row("why", output.plain(output.reason(state)))
    for page in state["failed_pages"]:
        shown.add_row(f"page {page['page']}", output.plain(f"{page['message']} {page['hint']}"))
    output.console().print(shown)


def _show_report(report: dict[str, Any]) -> None:
    """How it was read, what was guessed or left out, what each stage took, and the attempts."""
    shown = output.table("", "")
    for name in ("job_id", "filename", "version", "status"):
        shown.add_row(name, output.plain(str(report[name])))
    for name, value in (report["reading"] or {}).items():
        if name == "warnings":
            for warning in value:
                shown.add_row("warning", output.plain(f"{warning['message']} {warning['hint']}".strip()))
        elif value:
            shown.add_row("read in attempt" if name == "attempt" else name, output.plain(str(value)))
    for page in report["failed_pages"]:
        shown.add_row(f"page {page['page']}", output.plain(f"{page['message']} {page['hint']}"))
    for stage in report["stages"]:
        size = "" if stage["bytes"] is None else f", {output.size(stage['bytes'])}"
        shown.add_row(stage["stage"], f"{stage['seconds']:.3f} s{size}")
    shown.add_row("vectors", f"{report['vectors']['computed']} computed, {report['vectors']['found']} found again")
    for attempt in report["attempts"]:
        steps = (f"{s['status']} {s['at'][11:19]}" + (f" ({s['code']})" if s["code"] else "") for s in attempt["steps"])
        shown.add_row(f"attempt {attempt['number']}", ", ".join(steps))
    if report["error"]:
        shown.add_row("why", output.plain(output.reason(report)))
    output.console().print(shown)


def cancel(job: client.Job, url: client.Url = client.DEFAULT_URL) -> None:
    """Stop a document's job."""
    with client.Client(url) as server:
        state = server.post(f"/api/v2/documents/{job}/cancel")
    output.console().print(f"{state['filename']} is cancelled.", markup=False)


def retry(
    job: client.Job,
    password: Annotated[bool, typer.Option("--password", help="Ask for the password of the file.")] = False,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Start a failed, partial or cancelled document again, and what in it failed or was cancelled."""
    given = typer.prompt("Password of the file", hide_input=True, err=True) if password else ""
    with client.Client(url) as server:
        state = server.post(f"/api/v2/documents/{job}/retry", {"password": given} if given else None)
    begins = f"{state['filename']} starts again, attempt {state['attempt']}."
    if state["status"] == "completed":
        begins = f"What in {state['filename']} failed or was cancelled starts again."
    output.console().print(begins, markup=False)


def delete(
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB...", help="The job ids.")] = None,
    collection: Annotated[str | None, typer.Option(help="Delete all documents of this collection.")] = None,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Delete documents: no answer cites them from now on."""
    if not jobs and collection is None:
        raise errors.RequestError("No document is named.", hint="Name job ids, or a collection with --collection.")
    named = [client.job_id(word) for word in jobs or ()]
    with client.Client(url) as server:
        for job in named:
            server.delete(f"/api/v2/documents/{job}")
        deleted = len(named)
        while collection is not None:
            found = server.get("/api/v2/documents", collection=collection, limit=200)["jobs"]
            if not found:
                break
            for state in found:
                with contextlib.suppress(errors.JobNotFound):  # it went with the document that it came in
                    server.delete(f"/api/v2/documents/{state['job_id']}")
            deleted += len(found)
    output.console().print(f"{deleted} deleted. Their bytes, chunks and vectors are being purged.")
