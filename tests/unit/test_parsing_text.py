"""Decoding, cleaning, and the text formats."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.model import BlockKind, Page
from datadistiller.parsing import decoding, formats, headers, json, pages, registry, sheets, sniff, text
from datadistiller.parsing.markup import html

RUSSIAN = "Однажды, в студёную зимнюю пору, я из лесу вышел; был сильный мороз."
JAPANESE = "これは日本語の文章です。東京都の人口は約千四百万人であり、増加している。"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", JAPANESE),
        ("utf-8-sig", "Größe"),
        ("utf-16", RUSSIAN),
        ("utf-16-le", "Plain text without a mark"),
        ("utf-16-be", "Plain text without a mark"),
        ("utf-32", RUSSIAN),
        ("cp1252", "“Größe” – naïve café, 10 €"),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
        ("cp1251", RUSSIAN),
        ("koi8_r", RUSSIAN),
        ("cp866", RUSSIAN),
        ("cp1253", "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας"),
        ("cp1255", "שלום עולם מה שלומך היום"),
        ("shift_jis", JAPANESE),
        ("euc_jp", JAPANESE),
        ("gb18030", "中华人民共和国的首都是北京，人口超过两千万。"),
        ("big5", "臺灣的首都是臺北，人口超過兩百萬。"),
        ("euc_kr", "대한민국의 수도는 서울이며 인구는 약 천만 명이다."),
        ("cp500", "THE QUICK BROWN FOX, 123, JUMPS OVER THE LAZY DOG"),
    ],
)
def test_encodings(encoding: str, said: str) -> None:
    data = said.encode(encoding)
    assert decoding.looks_textual(data)
    assert decoding.decode(data) == said
    for nonsense in ("no-such-charset", "undefined", "rot13", "hex"):
        assert decoding.decode(data, declared=nonsense) == said


def test_what_is_declared() -> None:
    assert decoding.decode("кот".encode("koi8_r"), "koi8-r") == "кот"
    assert decoding.decode("“x” é".encode("cp1252"), "iso-8859-1") == "“x” é"
    assert decoding.decode(b"eJw=", "zlib") == "eJw="
    assert decoding.decode("é".encode(), "us-ascii") == "é"


@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "shift_jis", "hex", "idna", "utf-7"]))
def test_decoding_never_fails(data: bytes, declared: str | None) -> None:
    decoding.decode(data, declared).encode("utf-8", "surrogatepass")


@given(st.text(max_size=200))
def test_clean_text_is_clean(said: str) -> None:
    cleaned = pages.clean(said)
    cleaned.encode()
    assert not any(c in cleaned for c in "\0\r\x0c\u2028")
    assert pages.clean(cleaned) == cleaned


def test_cleaning() -> None:
    assert pages.clean("a\r\nb\rc\x0cd\0e\ud800f\ud83d\ude00") == "a\nb\nc\nde\ufffdf😀"


@given(st.text(st.sampled_from("ab \t\n"), max_size=60))
def test_paragraphs_cover_the_text(said: str) -> None:
    rest = list(said)
    for block in text.paragraphs(said):
        part = said[block.start : block.end]
        assert part == part.strip()
        assert all(line.strip() for line in part.split("\n"))
        rest[block.start : block.end] = " " * len(part)
    assert not "".join(rest).strip()


def test_page_builder_rewinds() -> None:
    builder = pages.PageBuilder()
    builder.add(BlockKind.PARAGRAPH, " kept ")
    mark = builder.mark()
    builder.add(BlockKind.HEADING, "dropped", 1)
    builder.rewind(mark)
    builder.add(BlockKind.PARAGRAPH, " \n ")
    builder.add(BlockKind.CODE, "end")
    page = builder.build(3, "iii")
    assert page.text == "kept\n\nend"
    assert [page.text[b.start : b.end] for b in page.blocks] == ["kept", "end"]
    empty = pages.PageBuilder()
    empty.add(BlockKind.PARAGRAPH, "x")
    empty.rewind(0)
    assert empty.build(1).text == ""


def page_of(folder: Path, media_type: str, said: str) -> Page:
    """The only page of a text format."""
    path = folder / "file"
    path.write_bytes(said.encode())
    _, page = registry.parser_of(media_type).parse(path, media_type)
    assert isinstance(page, Page)
    return page


def blocks_of(page: Page) -> list[tuple[str, int, str]]:
    """(kind, level, text) of each block."""
    return [(block.kind.value, block.level, page.text[block.start : block.end]) for block in page.blocks]


def test_markdown(tmp_path: Path) -> None:
    page = page_of(
        tmp_path,
        formats.MARKDOWN,
        "---\ntitle: 'T'\n---\nTop\n===\n\ntext *with* `a*b*c`\nmore\n- one\n  - two\n\n1. three\n\n"
        "| a | b |\n|---|:-:|\n| 1 | 2 |\nafter\n\n## Sub ##\n~~~py\n# no heading\n\nx\n~~~\n\n"
        "> quoted [link][1] ![picture](p.png)\n\n[1]: http://x\n***\n    indented\n<b>bold</b> snake_case_name\n",
    )
    assert blocks_of(page) == [
        ("heading", 1, "Top"),
        ("paragraph", 0, "text with a*b*c\nmore"),
        ("list", 0, "- one\n  - two"),
        ("list", 0, "1. three"),
        ("table", 0, "a | b\na: 1; b: 2"),
        ("paragraph", 0, "after"),
        ("heading", 2, "Sub"),
        ("code", 0, "# no heading\n\nx"),
        ("paragraph", 0, "quoted link picture"),
        ("code", 0, "indented"),
        ("paragraph", 0, "bold snake_case_name"),
    ]


def test_html(tmp_path: Path) -> None:
    page = page_of(
        tmp_path,
        formats.HTML,
        "<p>one<br>two <i>three</i><nav><a>menu</a><p>more</nav><div>four<script>x</script lang=js> five</div>"
        "<ol><li>a<li>b<ul><li>c</ul></ol><h2>Head <b>line</b></h2><h3></h3>"
        "<table><tr><td>lay<td><h4>out</h4>text</table><table><tr><td>only</table>"
        "<table><tr><th>K<th>W<tr><td>x<td>1 &lt; 2</table><select><option>no</select>end<footer>f</footer>",
    )
    assert blocks_of(page) == [
        ("paragraph", 0, "one\ntwo three"),
        ("paragraph", 0, "four five"),
        ("list", 0, "1. a\n2. b\n  - c"),
        ("heading", 2, "Head line"),
        ("paragraph", 0, "lay"),
        ("heading", 4, "out"),
        ("paragraph", 0, "text"),
        ("paragraph", 0, "only"),
        ("table", 0, "K | W\nK: x; W: 1 < 2"),
        ("paragraph", 0, "end"),
    ]


@given(st.text(st.sampled_from("<>/ abdhilnoprtuv123\"'=&;-!"), max_size=300))
def test_any_markup_gives_a_page(markup: str) -> None:
    _, builder = html.convert(markup)
    page = builder.build(1)
    assert [b.end for b in page.blocks] == sorted(b.end for b in page.blocks)


def test_html_charset_is_declared_inside() -> None:
    assert html.decode('<meta charset="koi8-r"><p>кот'.encode("koi8_r")) == '<meta charset="koi8-r"><p>кот'
    assert "кот" in html.decode('<meta charset="utf-8"><p>кот'.encode("koi8_r"), "koi8-r")


def test_tables_carry_their_header() -> None:
    builder = pages.PageBuilder()
    rows = [["Ducks"], [], ["Kind", "Weight"], ["Teal", "300"], [], ["Pintail", "900"], [], ["1", "2"], ["3", "4", "5"]]
    sheets.add_rows(enumerate(rows, 1), builder)
    assert builder.build(1).text == (
        "Ducks\n\nKind | Weight\nKind: Teal; Weight: 300\n\nKind: Pintail; Weight: 900\n\n1 | 2\n3 | 4 | 5"
    )


def test_long_tables_are_cut_into_blocks_that_keep_the_header() -> None:
    builder = pages.PageBuilder()
    rows = [["Kind", "Pond"], *([f"duck {n}", "east"] for n in range(2500)), [], ["a", "1"]]
    sheets.add_rows(enumerate(rows, 1), builder)
    page = builder.build(1)
    lines = page.text.split("\n")
    assert len(page.blocks) == 4
    assert lines[0] == "Kind | Pond"
    assert [line for line in lines[1:-2] if line] == [f"Kind: duck {n}; Pond: east" for n in range(2500)]
    assert lines[-1] == "Kind: a; Pond: 1"


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([["", "2021", "2022"], ["Hamburg", "5", "6"]], True),
        ([["Port", "2021", "2022"], ["Hamburg", "5", "6"], ["Bremen", "", "8"]], True),
        ([["Hamburg", "1998", "2003"], ["Bremen", "1999", "2004"]], False),  # years below years: all are data
        ([["Port", "2021"], ["Hamburg", "5"], ["Bremen", "1999"], ["Kiel", "6"]], True),
        ([["Port", "2021", "17"], ["Hamburg", "5", "6"]], False),
        ([["", "Port"], ["Hamburg", "x"]], False),
    ],
)
def test_years_and_an_empty_corner_may_name_columns(rows: list[list[str]], named: bool) -> None:
    assert (headers.header_row(rows) is not None) is named


def test_the_rule_of_a_markdown_table_makes_its_first_row_the_header(tmp_path: Path) -> None:
    page = page_of(tmp_path, formats.MARKDOWN, "|  | 5 | \\|x |\n|--|--|--|\n| _a_ | `1` | 2 |\n")
    assert page.text == "5 | |x\na; 5: 1; |x: 2"


def test_cells_of_an_html_header_name_columns_whatever_they_hold() -> None:
    _, page = html.convert("<table><tr><th>1<th>2<tr><td>a<td>b<tr><th>c<td>d</table>")
    assert page.build(1).text == "1 | 2\n1: a; 2: b\n1: c; 2: d"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, mark: str) -> None:
    said = f'Name{mark}Note\nTeal{mark}"a{mark} b\nc"\nPintail{mark}plain\n'
    page = page_of(tmp_path, formats.CSV, said)
    assert page.text.split("\n")[1] == "Name: Teal; Note: " + " ".join(f"a{mark} b c".split())


def test_json_paths() -> None:
    value = {"a": {"b": [1, 2.5, None, True]}, "c": [{"d": "x"}, {"d": ""}], "e": "y"}
    assert list(json.lines(value)) == ["a.b: 1, 2.5, null, true", "c[1].d: x", "e: y"]
    assert list(json.lines("plain")) == ["plain"]


def test_json_that_is_lines_after_all(tmp_path: Path) -> None:
    assert page_of(tmp_path, formats.JSON, '{"a": 1}\n\n{"a": 2}\n').text == "a: 1\n\na: 2"


@pytest.mark.parametrize(
    "said", ["*", "**a ", "[", "](", "`", "`a", "<", "<a ", "<!", "</", "<!--", "<!---->", "</script", "<script>", "# ",
             "|-", "> ", "_a ", "&",
             " ", "\t|", "1", "9 9 ", "From ", "From: ", "<?xml ", "{[", '"', "=\n", "-\n", "a\n\n"],
)  # fmt: skip
def test_long_repetitions_are_read_in_reasonable_time(tmp_path: Path, said: str) -> None:
    """Patterns that go back and forth would not come to an end here."""
    whole = said * (200_000 // len(said))
    with contextlib.suppress(errors.UnsupportedType):
        sniff.sniff(whole.encode()[: sniff.HEAD_BYTES], "a")
    for media_type in (formats.TEXT, formats.MARKDOWN, formats.HTML, formats.CSV):
        page_of(tmp_path, media_type, whole)
