"""``python -m benchmarks.parsing [--verbose]``: parsers on the real files of DATADISTILLER_DATA, in the sandbox.

First every file of ``documents`` is sniffed, and parsed if it can be: per folder how many are read whole, in
part, have no text, or are refused, and why; then what became of the files in them (attached, embedded, packed).
Then pages a second on ``filings``, beside bare pypdfium2 in the same run, and the round trip of a 2 kB text.
``--verbose`` names each file that was not read whole.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pypdfium2

from benchmarks.harness import DATA
from datadistiller import errors
from datadistiller.model import ParsedDocument, Problem
from datadistiller.parsing import formats, sniff
from datadistiller.runtime.sandbox import Limits, Sandbox


class Counted:
    """Takes in the files in a document (``runtime.sandbox.Attachments``), and only counts them."""

    def __init__(self) -> None:
        self.most_members, self.most_bytes = 10_000, 1_000_000_000
        self.found: list[str] = []  # a media type, or a code for each that was refused
        self._kept = 0

    async def begin(self, path: str, media_type: str) -> None:
        """Remembers its type."""
        self._media_type = media_type

    async def write(self, piece: bytes) -> None:
        """Forgets it."""

    async def end(self, problem: Problem | None) -> None:
        """Counts it."""
        self.found.append(problem.code if problem else self._media_type)

    def refuse(self, path: str, size: int, problem: Problem) -> None:
        """Counts the reason."""
        self.found.append(problem.code)

    def keep(self) -> None:
        """What came stays."""
        self._kept = len(self.found)

    async def rewind(self) -> None:
        """What came since is forgotten."""
        del self.found[self._kept :]


def outcome(document: ParsedDocument) -> str:
    """ok, partial or no text."""
    failed = [page.problem.code for page in document.pages if page.problem]
    if not any(page.text.strip() for page in document.pages):
        return failed[0] if failed else "no_text"
    return "partial" if failed else "ok"


async def read(sandbox: Sandbox, path: Path, inside: Counter[str]) -> tuple[str, str]:
    """What becomes of a file, and the sentence its owner would read."""
    try:
        with path.open("rb") as file:
            media_type = sniff.sniff(file.read(sniff.HEAD_BYTES), path.name)
        counted = Counted()
        found = outcome(await sandbox.parse(path, media_type, attachments=counted))
        inside.update(counted.found)
        return found, ""
    except errors.DataDistillerError as error:
        return error.code, error.message


async def documents(sandbox: Sandbox, verbose: bool) -> None:
    """Reads every file, two at a time, and prints a line per folder."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    inside: Counter[str] = Counter()
    slowest: list[tuple[float, str]] = []
    files = iter(sorted(p for p in (DATA / "documents").rglob("*") if p.is_file() and p.name != "MANIFEST.csv"))

    async def work(files: Iterator[Path]) -> None:
        for path in files:
            started = time.perf_counter()
            code, message = await read(sandbox, path, inside)
            slowest.append((time.perf_counter() - started, f"{path.parent.name}/{path.name}"))
            counts[path.parent.name][code] += 1
            if verbose and code != "ok":
                print(f"    {path.parent.name}/{path.name}: {code} {message}")

    await asyncio.gather(work(files), work(files))
    for folder, found in sorted(counts.items()):
        print(f"{folder:24}", ", ".join(f"{code} {n}" for code, n in found.most_common()))
    total = sum(counts.values(), Counter[str]())
    print(f"{'all':24}", ", ".join(f"{code} {n}" for code, n in total.most_common()))
    print(f"{'files in them':24}", ", ".join(f"{what} {n}" for what, n in inside.most_common()))
    print("slowest:", ", ".join(f"{name} {seconds:.1f} s" for seconds, name in sorted(slowest)[-4:]))


def bare(paths: list[Path]) -> int:
    """The pages of PDF files, their text read by pypdfium2 and thrown away."""
    pages = 0
    for path in paths:
        with pypdfium2.PdfDocument(path) as document:
            for page in document:
                textpage = page.get_textpage()
                textpage.get_text_range()
                textpage.close()
                page.close()
                pages += 1
    return pages


async def filings(sandbox: Sandbox) -> None:
    """Pages a second through the sandbox, one document at a time, and by bare pypdfium2."""
    paths = sorted((DATA / "filings").glob("*.pdf"))
    started = time.perf_counter()
    pages = sum([len((await sandbox.parse(path, formats.PDF)).pages) for path in paths])
    ours = pages / (time.perf_counter() - started)
    started = time.perf_counter()
    theirs = bare(paths) / (time.perf_counter() - started)
    print(f"filings: {pages} pages, {ours:.0f} pages/s; bare pypdfium2 {theirs:.0f} pages/s; ratio {ours / theirs:.2f}")


async def small(sandbox: Sandbox) -> None:
    """The round trip of a small text."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"A text of about two kilobytes, as people write them.\n\n" * 38)
        file.flush()
        path = Path(file.name)
        times = []
        for _ in range(200):
            started = time.perf_counter()
            await sandbox.parse(path, formats.TEXT)
            times.append(1000 * (time.perf_counter() - started))
    print(f"2 kB text: p50 {statistics.median(times):.2f} ms, p95 {statistics.quantiles(times, n=20)[-1]:.2f} ms")


async def main(verbose: bool) -> None:
    """Prints everything."""
    sandbox = Sandbox(Limits())
    started = time.perf_counter()
    await sandbox.start()
    try:
        await documents(sandbox, verbose)
        print(f"{time.perf_counter() - started:.0f} s")
        await filings(sandbox)
        await small(sandbox)
    finally:
        await sandbox.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="name each file that was not read whole")
    asyncio.run(main(parser.parse_args().verbose))
