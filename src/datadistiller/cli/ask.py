"""``datadistiller ask``: an answer and where it stands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from datadistiller import model
from datadistiller.cli import client, output

_SHOWN = 200  # characters of a passage


def command(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="In plain words.")],
    top_k: Annotated[int, typer.Option(min=1, help="How many passages.")] = 5,
    collection: Annotated[str | None, typer.Option(help="Only documents of this collection.")] = None,
    mode: Annotated[model.Mode, typer.Option(help="How passages are matched.")] = model.Mode.HYBRID,
    as_json: client.AsJson = False,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Ask the documents a question. Exit code 1 if nothing in them answers it."""
    body = {"question": question, "top_k": top_k, "collection": collection, "mode": mode.value}
    with client.Client(url) as server:
        answer = server.post("/api/v2/query", body)
        base = server.url
    if as_json:
        output.as_json(reachable(answer, base))
    else:
        show(answer)
    if not answer["answered"]:
        raise typer.Exit(1)


def show(answer: dict[str, Any]) -> None:
    """The answer, then its citations with document, page and place."""
    out = output.console()
    out.print(output.plain(answer["answer"] or ""), soft_wrap=not out.is_terminal)
    out.print()
    if not answer["answered"] and answer["citations"]:
        out.print("The nearest passages are:", style="dim")
    for citation in answer["citations"]:
        parent = f" in {citation['parent']['filename']}" if citation.get("parent") else ""
        span = f"characters {citation['start']}-{citation['end']}"
        place = ", ".join(word for word in (citation["filename"] + parent, citation["place"], span) if word)
        out.print(output.plain(f"[{citation['number']}] {place}"), style="bold")
        out.print(output.plain(f"    {excerpt(citation, answer['sentences'])}"), style="dim")
    out.print(f"{answer['took_ms']:.0f} ms", style="dim")


def reachable(answer: dict[str, Any], base: str) -> dict[str, Any]:
    """The answer with the addresses of its citations as they are opened from here: the server gives paths."""
    links = ("page_url", "image_url")
    found = [{**cited, **{name: base + cited[name] for name in links if cited[name]}} for cited in answer["citations"]]
    return {**answer, "citations": found}


def excerpt(citation: dict[str, Any], sentences: list[dict[str, Any]]) -> str:
    """The passage from the first sentence of the answer that stands in it, on one line; from its beginning if none."""
    starts = [sentence["start"] for sentence in sentences if sentence["citation"] == citation["number"]]
    skipped = min(starts, default=citation["start"]) - citation["start"]
    text = " ".join(citation["text"][skipped:].split())
    short = text if len(text) <= _SHOWN else text[:_SHOWN].rsplit(" ", 1)[0] + " …"
    return f"… {short}" if skipped else short
