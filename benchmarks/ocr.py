"""``python -m benchmarks.ocr [--pages N]``: text recognition on pages whose text is known.

Pages of ``filings`` (born-digital, so their text layer is the truth) are rendered in grey at 150 and 200 dots an inch,
as they are and as a poor scan: turned by 1.5 degrees, blurred, noisy, unevenly lit, saved as a bad JPEG. Words are
compared as multisets: how many of those on the page were read, and how many of those read are on the page. Seconds
are CPU time; one thread computes. Where the command ``tesseract`` is installed, it reads the same pictures.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image, ImageFilter

from benchmarks.harness import DATA
from datadistiller.parsing.pictures import ocr_layout
from datadistiller.parsing.pictures.ocr import engine
from datadistiller.parsing.pictures.picture import prepared

RESOLUTIONS = (150, 200)


@dataclass
class Score:
    """What became of the words of some pages."""

    found: int = 0
    there: int = 0
    read: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, truth: str, text: str, seconds: float) -> None:
        """Counts a page."""
        one, other = words(truth), words(text)
        self.found += (one & other).total()
        self.there += one.total()
        self.read += other.total()
        self.seconds.append(seconds)

    def row(self, name: str) -> str:
        """A row of the table."""
        a_minute = 60 * len(self.seconds) / sum(self.seconds)
        recall, precision = self.found / max(1, self.there), self.found / max(1, self.read)
        return f"| {name} | {len(self.seconds)} | {recall:.4f} | {precision:.4f} | {a_minute:.0f} |"


def words(text: str) -> Counter[str]:
    """Letters and digits that stand together, in small letters."""
    return Counter(re.findall(r"\w+", text.lower()))


def chosen(count: int) -> Iterator[tuple[Path, int]]:
    """That many pages, spread over all filings."""
    paths = sorted((DATA / "filings").glob("*.pdf"))
    for n in range(count):
        yield paths[n * len(paths) // count % len(paths)], 3 + 5 * n % 23


def poor(image: Image.Image) -> Image.Image:
    """As a bad scanner would have it."""
    turned = image.rotate(1.5, Image.Resampling.BICUBIC, fillcolor="white").filter(ImageFilter.GaussianBlur(1))
    values = np.asarray(turned, np.float32) * 0.75 + 40 + np.linspace(-25, 15, turned.width)[None, :]
    noisy = values + np.random.default_rng(3).normal(0, 12, values.shape)
    out = BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=50)
    return Image.open(out)


def recognised(image: Image.Image) -> tuple[str, float]:
    """The text of a picture, and the seconds of CPU it took."""
    started = time.process_time()
    size, pixels, unit = prepared(image)
    page = ocr_layout.page(1, "", engine().read(pixels).pieces, size, unit)
    return page.text, time.process_time() - started


def by_tesseract(image: Image.Image) -> tuple[str, float]:
    """The same by Tesseract, in a process of its own."""
    out = BytesIO()
    image.save(out, "PNG")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = ["tesseract", "-", "-"]
    environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(run, input=out.getvalue(), env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout.decode(), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rendered(count: int, dots: int) -> Iterator[tuple[str, Image.Image]]:
    """The words on a page, and how it looks."""
    for path, number in chosen(count):
        with pypdfium2.PdfDocument(path) as document:
            page = document[number]
            image = page.render(scale=dots / 72, grayscale=True).to_pil().convert("L")
            yield page.get_textpage().get_text_bounded(), image


def measure(count: int) -> Iterator[str]:
    """The table, row by row."""
    yield "| pages | n | of the words there, read | of the words read, there | pages a minute on one core |"
    yield "|---|---|---|---|---|"
    started = time.process_time()
    engine()
    loaded = time.process_time() - started
    readers = {"": recognised} | ({"Tesseract, ": by_tesseract} if shutil.which("tesseract") else {})
    for dots in RESOLUTIONS:
        for name, read in readers.items():
            clean, bad = Score(), Score()
            for truth, image in rendered(count, dots):
                clean.add(truth, *read(image))
                bad.add(truth, *read(poor(image)))
            yield clean.row(f"{name}rendered at {dots} dpi")
            yield bad.row(f"{name}the same as a poor scan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield f"\nloading the engine: {loaded:.1f} s of CPU; most memory of this process: {peak:.0f} MB"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=12, help="how many pages")
    for row in measure(parser.parse_args().pages):
        print(row, flush=True)


if __name__ == "__main__":
    main()
