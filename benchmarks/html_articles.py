"""HTML pages against their annotated articles: what is kept of the article, and what else is.

    python -m benchmarks.html_articles

Runs of four words are compared, as often as they occur; precision and recall are means over the pages, F1 is made of
the two means, as in the article-extraction-benchmark, whose pages and truth (``articleBody``) are read. Times are
those of one process, parsing of the markup included; lower is better.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import trafilatura

from benchmarks.harness import DATA
from datadistiller.parsing.markup import html

PAGES = DATA / "documents" / "html_articles"
TRUTH = DATA / "truth" / "html_articles" / "ground-truth.json"
#: Pages of other kinds, of which nothing that says something may be left out.
OTHERS = DATA / "documents" / "html"

_WORD = re.compile(r"\w+")
_RUN = 4


def whole(markup: str) -> str:
    """Everything but scripts, ``nav`` and ``footer``."""
    return html.convert(markup)[1].build(1).text


def ours(markup: str) -> str:
    """What the parser gives."""
    return html.convert_article(markup)[1].text


def alone(markup: str) -> str:
    """trafilatura's own text."""
    return trafilatura.extract(markup, fast=True, include_comments=False) or ""


def headline(markup: str) -> str:
    """The headline that the parser keeps, empty if it keeps none."""
    page = html.convert_article(markup)[1]
    return next((page.text[block.start : block.end] for block in page.blocks if block.level == 1), "")


def without_headline(read: Callable[[str], str]) -> Callable[[str], str]:
    """The same text without the lines that are the headline, which the annotation leaves out."""

    def reader(markup: str) -> str:
        first = headline(markup)
        return "\n".join(line for line in read(markup).split("\n") if line.strip() != first)

    return reader


TRAFILATURA = f"trafilatura {version('trafilatura')}, fast, alone"
READERS: dict[str, Callable[[str], str]] = {
    "whole page": whole,
    "DataDistiller": ours,
    TRAFILATURA: alone,
    "DataDistiller, without headline": without_headline(ours),
    f"{TRAFILATURA}, without headline": without_headline(alone),
}


def runs(text: str) -> Counter[tuple[str, ...]]:
    """Runs of four words and how often each occurs; a shorter text is one run."""
    words = _WORD.findall(text)
    return Counter(tuple(words[i : i + _RUN]) for i in range(max(1, len(words) - _RUN + 1)))


def score(text: str, truth: str) -> tuple[float, float]:
    """Precision and recall, 0 to 1."""
    given, wanted = runs(text), runs(truth)
    right = (given & wanted).total()
    return right / given.total(), right / wanted.total()


def measure(read: Callable[[str], str], pages: Sequence[tuple[str, str]]) -> tuple[float, float, float]:
    """Mean precision and recall of ``pages`` (markup, article), and milliseconds a page."""
    read(pages[0][0])  # imports
    start = time.perf_counter()
    texts = [read(markup) for markup, _ in pages]
    seconds = time.perf_counter() - start
    scores = [score(text, truth) for text, (_, truth) in zip(texts, pages, strict=True)]
    precision, recall = (sum(values) / len(pages) for values in zip(*scores, strict=True))
    return precision, recall, seconds / len(pages) * 1000


def cut(folder: Path) -> tuple[int, int]:
    """How many pages of a folder are cut to an article, and how many there are."""
    pages = sorted(folder.glob("*.html"))
    return sum(html.convert_article(html.decode(page.read_bytes()))[2] is not None for page in pages), len(pages)


def main() -> None:
    """Prints the tables."""
    truth = json.loads(TRUTH.read_text())
    pages = [
        (html.decode((PAGES / f"{name}.html").read_bytes()), article["articleBody"])
        for name, article in sorted(truth.items())
    ]
    print(f"| {len(pages)} annotated articles | precision | recall | F1 | ms a page |\n|---|---|---|---|---|")
    for name, read in READERS.items():
        precision, recall, ms = measure(read, pages)
        f1 = 2 * precision * recall / (precision + recall)
        print(f"| {name} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {ms:.0f} |")
    for what, folder in (("annotated articles", PAGES), ("other pages", OTHERS)):
        print("{} of {} {} are cut to their article.".format(*cut(folder), what))


if __name__ == "__main__":
    main()
