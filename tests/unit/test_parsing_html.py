"""Pages of HTML are cut to their article if they have one; whatever else is HTML stays whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadistiller.model import Page, Problem
from datadistiller.parsing import Header, formats, limits, registry
from datadistiller.parsing.markup import html, html_article
from datadistiller.runtime.sandbox import Limits, Sandbox

STORY = (
    "The ferry leaves the harbour at nine in the morning and needs an hour to the island, where the keeper waits.",
    "He has kept the lamp for thirty years, and his father did so before him, when it still burned oil from whales.",
    "Every evening he climbs two hundred steps with a can in his hand, and counts them, so that none gets lost.",
    "In winter the boat does not come for weeks, and the keeper reads the same four books from the shelf again.",
    "Ships send their greetings by radio since the new mast was built, and he answers each of them with the weather.",
    "Visitors are welcome on Saturdays from May to September, if they bring bread, a newspaper and their own cups.",
)
MENU = "".join(
    f'<li><a href="/{name}">{name}</a>' for name in ("Home", "Sport", "Money", "Travel", "Weather", "Culture")
)
ASIDE = "".join(f'<div><a href="/{n}">Seven reasons why whales sing, part {n}</a></div>' for n in range(9))
TABLE = "<table><tr><th>Month<th>Visitors<tr><td>May<td>31<tr><td>June<td>204</table>"
COMMENT = '<div class="comment">Great story, thanks!</div>'
#: Longer than the article, and none of its sentences.
POSTS = "".join(f'<div class="comment"><p>{" ".join(" ".join(STORY[n : n + 2]).split()[::-1])}</div>' for n in range(5))
ARTICLE = (
    f'<html><head><title>The keeper</title></head><body><div class="menu"><ul>{MENU}</ul></div><article>'
    f"<h1>The keeper of the lamp</h1><p>{'</p><p>'.join(STORY[:3])}</p><h2>His year</h2><p>{STORY[3]}</p>{TABLE}"
    f"<pre>lamp  on</pre><p>{'</p><p>'.join(STORY[4:])}</p></article>"
    f'<div class="sidebar"><h3>Most read</h3>{ASIDE}</div>'
    f'<div id="comments" class="comments"><h3>Comments</h3>{COMMENT}</div>'
    "<footer>All rights reserved</footer></body></html>"
)
ROWS = "".join(f'<tr><td><a href="/{n}">Part {n}</a><td>{n * 7} pieces in stock<td>{n},50' for n in range(60))


def parsed(folder: Path, markup: str) -> tuple[Page, list[Problem]]:
    path = folder / "page.html"
    path.write_text(markup, encoding="utf-8")
    header, *items = registry.parser_of(formats.HTML).parse(path, formats.HTML)
    assert isinstance(header, Header)
    (page,) = (item for item in items if isinstance(item, Page))
    return page, [item for item in items if isinstance(item, Problem) and item.code == "article_only"]


def whole(markup: str) -> Page:
    return html.convert(markup)[1].build(1)


def test_an_article_is_cut_out_with_its_headline_tables_and_code(tmp_path: Path) -> None:
    page, (problem,) = parsed(tmp_path, ARTICLE)
    assert [(block.kind, block.level, page.text[block.start : block.end]) for block in page.blocks] == [
        ("heading", 1, "The keeper of the lamp"),
        *(("paragraph", 0, said) for said in STORY[:3]),
        ("heading", 2, "His year"),
        ("paragraph", 0, STORY[3]),
        ("table", 0, "Month | Visitors\nMonth: May; Visitors: 31\nMonth: June; Visitors: 204"),
        ("code", 0, "lamp  on"),
        *(("paragraph", 0, said) for said in STORY[4:]),
    ]
    left_out = html_article.count(whole(ARTICLE).text) - html_article.count(page.text)
    assert left_out > 70
    assert f"left out: {left_out}." in problem.message


@pytest.mark.parametrize(
    "markup",
    [
        f"<h1>Stock</h1><table>{ROWS}</table><p>{STORY[0]}",
        f"<ul>{MENU}</ul>" + "".join(f'<h2><a href="/{n}">News number {n} of today</a></h2>' for n in range(80)),
        f"<ul>{MENU}</ul><article><p>{STORY[0]}</p><p>{STORY[1]}</p></article>{ASIDE}",
        f"<article><p>{'</p><p>'.join(STORY)}</p></article><p>No links around it.",
        ARTICLE.replace(COMMENT, POSTS),
        "<div>" * 3000 + ARTICLE.replace("<p>", "<p><b>") + "<a href=x>y" * 20,
    ],
    ids=["tables", "front page", "short", "no links", "thread", "nested too deeply"],
)
def test_what_is_no_article_is_whole(tmp_path: Path, markup: str) -> None:
    assert parsed(tmp_path, markup) == (whole(markup), [])


@pytest.mark.parametrize(
    "around",
    [
        "<h3>Deals</h3>" + POSTS.replace("</div>", "...</div>"),
        f"<h3>Related articles</h3>{POSTS}",
        f"<h2>Você pode gostar...</h2>{POSTS}",
        f"<h2>Das könnte Sie auch interessieren</h2><h4>Wale</h4>{POSTS}",
    ],
)
def test_what_begins_other_pages_does_not_keep_a_page_whole(tmp_path: Path, around: str) -> None:
    page, _ = parsed(tmp_path, ARTICLE.replace(COMMENT, f"</div><div>{around}"))
    assert page == parsed(tmp_path, ARTICLE)[0]


@pytest.mark.parametrize("heading", ["Related work", "Recommended dose", "Answers"])
def test_other_headings_are_above_what_counts(tmp_path: Path, heading: str) -> None:
    markup = ARTICLE.replace(COMMENT, f"<h3>{heading}</h3>{POSTS}")
    assert parsed(tmp_path, markup) == (whole(markup), [])


def test_a_list_of_beginnings_is_no_article(tmp_path: Path) -> None:
    teasers = "".join(f'<h2><a href="/{n}">Part {n}</a></h2><p>{said[:-1]} […]</p>' for n, said in enumerate(STORY * 2))
    markup = f"<ul>{MENU}</ul><main>{teasers}</main>"
    assert parsed(tmp_path, markup) == (whole(markup), [])


def test_captions_that_repeat_are_kept_once(tmp_path: Path) -> None:
    caption = f"<p>{' '.join(STORY[0].split()[:9])} again, seen from the pier</p>"
    markup = ARTICLE.replace("</p><p>", f"</p><figure><figcaption>{caption}</figcaption></figure><p>")
    page, _ = parsed(tmp_path, markup)
    assert whole(markup).text.count("from the pier") == 3
    assert page.text.count("from the pier") == 1
    assert all(said in page.text for said in STORY)


def test_words_of_the_article_in_a_list_of_links_are_not_of_it(tmp_path: Path) -> None:
    tags = "".join(f'<li><a href="/{tag}">{tag}</a>' for tag in ("ferry", "the keeper", "oil from whales", "bread"))
    page, _ = parsed(tmp_path, ARTICLE.replace("</article>", f"</article><div><ul>{tags}</ul></div>"))
    assert page == parsed(tmp_path, ARTICLE)[0]


def test_a_page_that_is_too_large_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ARTICLE_CHARS", len(ARTICLE) - 1)
    assert parsed(tmp_path, ARTICLE) == (whole(ARTICLE), [])


def test_searching_for_an_article_ends() -> None:
    with pytest.raises(html_article._TooSlow), html_article._within(0.01):
        while True:
            pass


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(ARTICLE)), st.integers(0, 40), st.text(st.sampled_from("<>/ap=\"'&;!-\0\ud800x"), max_size=9))
def test_a_damaged_article_is_read(at: int, lost: int, put: str) -> None:
    damaged = ARTICLE[:at] + put + ARTICLE[at + lost :]
    _, page, problem = html.convert_article(damaged)
    texts = [page.text[block.start : block.end] for block in page.blocks]
    assert page.text == "\n\n".join(texts)
    if problem is None:
        assert page == whole(damaged)
    else:
        everything = whole(damaged)
        assert len(texts) < len(everything.blocks)
        assert set(texts) <= {everything.text[block.start : block.end] for block in everything.blocks}
        assert html_article.count(page.text) >= 100


def test_the_body_of_a_mail_is_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_text(f"From: a@example.com\nSubject: Lamp\nContent-Type: text/html; charset=utf-8\n\n{ARTICLE}")
    (page,) = (item for item in registry.parser_of(formats.EMAIL).parse(path, formats.EMAIL) if isinstance(item, Page))
    assert whole(ARTICLE).text in page.text


async def test_an_article_is_found_by_a_confined_process(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(ARTICLE, encoding="utf-8")
    sandbox = Sandbox(Limits(memory_mb=192), concurrency=1)
    try:
        document = await sandbox.parse(path, formats.HTML)
    finally:
        await sandbox.close()
    assert list(document.pages) == [parsed(tmp_path, ARTICLE)[0]]
    assert "sidebar" not in document.pages[0].text
