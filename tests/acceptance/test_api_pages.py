"""GET .../pages/{n} and .../pages/{n}.png, and the places citations name: text, rectangles, and the picture of it."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from datadistiller import messages, model
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.parsing import formats
from datadistiller.runtime.sandbox import Limits, Sandbox
from tests.acceptance import api_parts
from tests.acceptance.api_kit import is_problem, on_one_machine, upload
from tests.fixtures import files

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)

DOCUMENTS = "/api/v2/documents"
SIZE = (595.0, 842.0)
HEAD, FIRST, SECOND = "Of Lighthouses", "The lighthouse of Kermorvan was built in 1849.", "It stands on a rock."
#: What ``files.pdf`` puts where: from 72 points on, here half a point wide a character and point of height.
PLACES = {HEAD: (24, 90.8), FIRST: (12, 105.2), SECOND: (12, 119.6)}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(Limits(), concurrency=1)
    yield made
    await made.close()


async def take_in(client: httpx.AsyncClient, parts: Any, sandbox: Sandbox, path: Path, located: bool = False) -> str:
    """Uploads a document and does the workers' part with the real parser and chunker; its job id.

    Its chunks are found when ``finished`` has returned.
    """
    await upload(client, await asyncio.to_thread(path.read_bytes), path.name)
    (delivery,) = await api_parts.claim(parts, messages.INGEST_TOPIC)
    job = await parts.jobs.get(delivery.job_id)
    document = await sandbox.parse(path, job.media_type)
    # Where the text of a PDF stands is the parser's to say; here it is what the test knows.
    pages = [with_lines(page) if located else replace(page, size=None, lines=()) for page in document.pages]
    chunks = Chunker(WordpieceTokenizer(), 200).chunk(job.job_id, document, job.filename)
    ingested = messages.Ingested(replace(document, pages=pages), chunks)
    await api_parts.settle(parts, messages.Done(delivery, ingested))
    texts = {chunk.chunk_id: chunk.indexed_text for chunk in chunks}
    waiting = await api_parts.claim(parts, messages.CHUNK_TOPIC)
    vectors = parts.embedder.embed([texts[one.chunk_id] for one in waiting]).astype(np.float16)
    done = [messages.Done(one, messages.Embedded(vector)) for one, vector in zip(waiting, vectors, strict=True)]
    await api_parts.settle(parts, *done)
    return str(job.job_id)


def with_lines(page: model.Page) -> model.Page:
    lines = []
    for text, (height, baseline) in PLACES.items():
        start = page.text.index(text)
        box = (72.0, baseline - height, 72.0 + height / 2 * len(text), baseline)
        lines.append(model.Line(start, start + len(text), *box))
    return replace(page, size=SIZE, lines=lines)


def lighthouses(folder: Path) -> Path:
    return files.pdf(folder / "sights.pdf", [[(24, HEAD), (12, FIRST), (12, SECOND)]])


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    """The picture as ``uint8[height, width, 3]``."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, width, height = 8, b"", 0, 0
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        assert zlib.crc32(name + body) == int.from_bytes(png[at + 8 + length : at + 12 + length], "big")
        if name == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        data += body if name == b"IDAT" else b""
        at += length + 12
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def marked(picture: np.ndarray[Any, Any]) -> list[int]:
    """The rectangle around all that is coloured, in pixels: left, top, right, bottom."""
    rows, columns = np.nonzero(picture[:, :, 2].astype(int) < picture[:, :, 0].astype(int) - 20)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1] if len(rows) else []


async def finished(client: httpx.AsyncClient, job_id: str) -> None:
    assert (await api_parts.finished(client, job_id))["status"] == "completed"


async def ask(client: httpx.AsyncClient, question: str) -> dict[str, Any]:
    answer = await client.post("/api/v2/query", json={"question": question, "top_k": 20})
    assert answer.status_code == 200
    return dict(answer.json())


async def test_a_citation_is_seen_on_its_page(
    client: httpx.AsyncClient, parts: Any, sandbox: Sandbox, tmp_path: Path
) -> None:
    job_id = await take_in(client, parts, sandbox, lighthouses(tmp_path), located=True)
    await finished(client, job_id)
    answer = await ask(client, "When was the lighthouse built?")
    (citation,), (sentence, *_) = answer["citations"], answer["sentences"]
    page = (await client.get(citation["page_url"])).json()
    assert (citation["place"], citation["page_width"], citation["page_height"]) == ("page 1", *SIZE)
    assert (page["place"], page["width"], page["height"], page["problem"]) == ("page 1", *SIZE, None)
    assert (page["recognised"], citation["recognised"]) == (False, False)
    assert [page["text"][line["start"] : line["end"]] for line in page["lines"]] == list(PLACES)
    assert citation["rects"] == [line["rect"] for line in page["lines"]]
    (chunk,) = page["chunks"]
    assert (chunk["chunk_id"], chunk["ordinal"], chunk["status"]) == (citation["chunk_id"], 0, "indexed")
    assert (chunk["start"], chunk["end"]) == (citation["start"], citation["end"])
    assert sentence["text"] == FIRST
    assert sentence["rects"] == [pytest.approx([72, 93.2, 72 + 6 * len(FIRST), 105.2], abs=0.1)]

    width = 1190  # two pixels a point
    whole = pixels((await client.get(citation["image_url"], params={"highlight": "0,1", "width": width})).content)
    assert whole.shape == (1684, width, 3)
    place = {"highlight": f"{sentence['start']},{sentence['end']}", "width": width}
    shown = await client.get(f"{DOCUMENTS}/{job_id}/pages/1.png", params=place)
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["cache-control"] == "private, no-cache"
    assert marked(pixels(shown.content)) == pytest.approx([2 * edge for edge in sentence["rects"][0]], abs=2)
    bare = await client.get(page["image_url"], params={"width": width})
    assert marked(pixels(bare.content)) == []
    assert (pixels(bare.content) < 100).any(), "the text itself is drawn"

    etag = shown.headers["etag"]
    assert len({etag, bare.headers["etag"]}) == 2
    again = await client.get(f"{DOCUMENTS}/{job_id}/pages/1.png", params=place, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")

    assert (await client.delete(f"{DOCUMENTS}/{job_id}")).status_code == 204
    for path in ("pages/1", "pages/1.png"):
        gone = await client.get(f"{DOCUMENTS}/{job_id}/{path}", params=place, headers={"If-None-Match": etag})
        is_problem(gone, 404, "job_not_found")


async def test_what_cannot_be_shown_is_said_plainly(
    client: httpx.AsyncClient, parts: Any, sandbox: Sandbox, tmp_path: Path
) -> None:
    waiting = (await upload(client, b"%PDF-1.7 not read yet", "w.pdf")).json()["job_id"]
    for path in ("pages/1", "pages/1.png"):
        is_problem(await client.get(f"{DOCUMENTS}/{waiting}/{path}"), 404, "page_not_found", "has not been read yet")
    is_problem(await client.get(f"{DOCUMENTS}/{waiting}/pages/0"), 422, "invalid_request", "page")
    assert (await client.post(f"{DOCUMENTS}/{waiting}/cancel")).status_code == 200
    is_problem(await client.get(f"{DOCUMENTS}/{waiting}/pages/1"), 404, "page_not_found", "it is cancelled")

    book = await take_in(client, parts, sandbox, files.sample(tmp_path, formats.XLSX))
    for path in ("pages/3", "pages/3.png"):
        is_problem(await client.get(f"{DOCUMENTS}/{book}/{path}"), 404, "page_not_found", "has 2 pages")
    says = "A document of the type Excel workbook has no picture."
    is_problem(await client.get(f"{DOCUMENTS}/{book}/pages/1.png"), 404, "no_picture", says)
    page = (await client.get(f"{DOCUMENTS}/{book}/pages/2")).json()
    assert (page["place"], page["label"], page["image_url"]) == ("sheet Lakes", "Lakes", None)
    assert (page["width"], page["height"], page["lines"]) == (None, None, [])

    job_id = await take_in(client, parts, sandbox, lighthouses(tmp_path))
    image = f"{DOCUMENTS}/{job_id}/pages/1.png"
    length = len((await client.get(f"{DOCUMENTS}/{job_id}/pages/1")).json()["text"])
    for highlight in ("5,5", "6,5", f"0,{length + 1}"):
        is_problem(await client.get(image, params={"highlight": highlight}), 422, "invalid_request", f"end <= {length}")
    for query in ("highlight=5", "highlight=a,b", "highlight=-1,5", "width=0", "width=2001", "width=wide"):
        is_problem(await client.get(f"{image}?{query}"), 422, "invalid_request", query.split("=")[0])
    is_problem(await client.get(image, params={"highlight": "0,5"}), 409, "conflict", "not known where the text")
    await finished(client, job_id)
    (citation,) = [c for c in (await ask(client, "lighthouse"))["citations"] if c["job_id"] == job_id]
    assert (citation["rects"], citation["page_width"], citation["image_url"]) == ([], None, image)
    assert (await client.get(image)).status_code == 200


@on_one_machine  # what the parsers and the chunker give, which have nothing to do with where things are stored
async def test_every_chunk_of_every_format_says_what_its_page_says(
    client: httpx.AsyncClient, parts: Any, sandbox: Sandbox, tmp_path: Path
) -> None:
    checked = 0
    for media_type in formats.BY_MEDIA_TYPE:
        job_id = await take_in(client, parts, sandbox, files.sample(tmp_path, media_type))
        pages: dict[int, dict[str, Any]] = {}
        for number in range(1, (await client.get(f"{DOCUMENTS}/status/{job_id}")).json()["page_count"] + 1):
            pages[number] = (await client.get(f"{DOCUMENTS}/{job_id}/pages/{number}")).json()
        async with parts.database.connection() as conn:
            rows = await (
                await conn.execute("SELECT chunk_id, page, text FROM document_chunks WHERE job_id = %s", (job_id,))
            ).fetchall()
        said = {
            (chunk["chunk_id"], number): page["text"][chunk["start"] : chunk["end"]]
            for number, page in pages.items()
            for chunk in page["chunks"]
        }
        assert said == {(str(row["chunk_id"]), row["page"]): row["text"] for row in rows}, media_type
        checked += len(said)
    assert checked >= len(formats.BY_MEDIA_TYPE)
    await finished(client, job_id)
    for citation in (await ask(client, "Where do ducks swim?"))["citations"]:
        page = (await client.get(citation["page_url"])).json()
        assert page["text"][citation["start"] : citation["end"]] == citation["text"]


async def test_an_answer_about_a_cell_names_it(
    client: httpx.AsyncClient, parts: Any, sandbox: Sandbox, tmp_path: Path
) -> None:
    ports = ["Hamburg", "Bremen", "Stralsund", "Wismar", "Rostock", "Emden", "Kiel", "Husum"]
    rows = [["Port", "Wheat in tons", "Coal in tons"]]
    rows += [[port, str(n * 37 + 1000), str(n * 91 + 2000)] for n, port in enumerate(ports * 12)]
    where = next(n for n, row in enumerate(rows, 1) if row[0] == "Wismar") + 8 * 5
    rows[where - 1] = ["Travemünde", "4711", "815"]
    table = tmp_path / "trade.csv"
    table.write_text("\n".join(",".join(row) for row in rows), encoding="utf-8")
    job_id = await take_in(client, parts, sandbox, table)
    await finished(client, job_id)
    answer = await ask(client, "How much wheat in tons did Travemünde have?")
    (sentence,) = [s for s in answer["sentences"] if "4711" in s["text"]]
    assert sentence["cells"] == f"A{where}:C{where}"
    citation = answer["citations"][sentence["citation"] - 1]
    first, last = (int(cell[1:]) for cell in citation["cells"].split(":"))
    assert first <= where <= last < len(rows), "not the whole table"
    assert citation["place"] == f"cells {citation['cells']}"
    assert [citation["text"].split("\n")[n - first].split("; ")[0] for n in (first, where, last)] == [
        f"Port: {rows[n - 1][0]}" if n > 1 else "Port | Wheat in tons | Coal in tons" for n in (first, where, last)
    ]

    page = (await client.get(citation["page_url"])).json()
    assert page["place"] == ""
    said = [page["text"][one["start"] : one["end"]].count("\n") for one in page["cells"]]
    ranges = [[int(cell[1:]) for cell in one["range"].split(":")] for one in page["cells"]]
    assert [last - first for first, last in ranges] == said, "each row is a line"
    assert sorted(n for first, last in ranges for n in range(first, last + 1)) == list(range(1, len(rows) + 1))

    book = await take_in(client, parts, sandbox, files.sample(tmp_path, formats.XLSX))
    await finished(client, book)
    (weight,) = [c for c in (await ask(client, "Of what weight was the teal?"))["citations"] if "Weight" in c["text"]]
    assert weight["place"] == "sheet Ponds, A1:C5"
