"""Real pages with annotated articles: little else is kept, and next to nothing of the article is lost."""

from __future__ import annotations

import json

import pytest

from benchmarks import html_articles
from datadistiller.parsing.markup import html


@pytest.mark.skipif(not html_articles.TRUTH.exists(), reason="DATADISTILLER_DATA has no annotated articles")
def test_articles_are_cut_out_of_real_pages() -> None:
    truth = json.loads(html_articles.TRUTH.read_text())
    pages = [
        (html.decode((html_articles.PAGES / f"{name}.html").read_bytes()), article["articleBody"])
        for name, article in truth.items()
    ]
    precision, recall, _ = html_articles.measure(html_articles.ours, pages)
    assert precision > 0.93
    assert recall > 0.98
