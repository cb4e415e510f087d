"""OpenDocument files: what the contract suite does not ask of every parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.parsing import formats, sniff
from tests.fixtures import opendocument
from tests.unit.test_parsing_binary import blocks_of, parse

ALL = [formats.ODT, formats.ODS, formats.ODP]
TAGS = ("h", "p", "span", "s", "list", "list-item", "note", "note-body", "tab", "line-break", "section")
TABLE_TAGS = ("table", "table-row", "table-cell", "covered-table-cell", "table-header-rows")
OTHERS = ("draw:frame", "draw:text-box", "draw:page", "draw:g", "office:annotation", "presentation:notes")
NAMES = [*(f"text:{tag}" for tag in TAGS), *(f"table:{tag}" for tag in TABLE_TAGS), *OTHERS]

#: Elements in elements, with a word here and there.
trees = st.recursive(
    st.sampled_from(["", "word", " ", "é"]),
    lambda inner: st.builds(
        lambda name, attribute, children: f"<{name}{attribute}>{''.join(children)}</{name}>",
        st.sampled_from(NAMES),
        st.sampled_from(["", ' table:number-columns-repeated="3"', ' text:outline-level="99"', ' text:c="x"']),
        st.lists(inner, max_size=4),
    ),
    max_leaves=25,
)


def test_text(tmp_path: Path) -> None:
    header, pages = parse(opendocument.odt(tmp_path / "a.odt"), formats.ODT)
    assert header.title == "Of Ducks"
    assert blocks_of(pages[0]) == [
        ("heading", 1, "Of Ducks"),
        ("paragraph", 0, "Ducks swim in ponds."),
        ("list", 0, "- mallard\n  - drake"),
        ("table", 0, "Kind | Weight\nKind: Teal; Weight: 300 g"),
        ("paragraph", 0, "Footnote 1: Mostly."),
    ]


def test_what_is_not_shown_is_left_out(tmp_path: Path) -> None:
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes><text:p>one\n  <text:s text:c='3'/>two"
        "<text:tab/>three<draw:frame><draw:text-box><text:p>boxed</text:p></draw:text-box></draw:frame></text:p>"
    )
    _, pages = parse(opendocument.make(tmp_path / "a.odt", formats.ODT, body), formats.ODT)
    assert pages[0].text == "one    two\tthree\n\nboxed"


@pytest.mark.parametrize("media_type", [formats.ODT, formats.ODP])
def test_notes_in_tables_stand_at_the_end(tmp_path: Path, media_type: str) -> None:
    note = (
        "<text:note text:note-class='endnote'><text:note-citation>i</text:note-citation><text:note-body>"
        "<text:p>Mostly.</text:p></text:note-body></text:note>"
    )
    comment = "<office:annotation><text:p>seen</text:p></office:annotation>"
    row = "".join(
        f"<table:table-cell><text:p>{text}</text:p></table:table-cell>" for text in (f"Teal{note}", f"{comment}300 g")
    )
    table = f"<table:table><table:table-row>{row}</table:table-row></table:table>"
    body = f"<draw:page><draw:frame>{table}</draw:frame></draw:page>" if media_type == formats.ODP else table
    _, pages = parse(opendocument.make(tmp_path / "a", media_type, body), media_type)
    assert [block[2] for block in blocks_of(pages[0])] == ["Teal | 300 g", "Endnote i: Mostly.", "Comment: seen"]


def test_the_field_of_the_title_is_text_and_the_title_of_a_drawing_is_none(tmp_path: Path) -> None:
    svg = "xmlns:svg='urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0'"
    drawing = f"<text:a><svg:title {svg}>Pond</svg:title><svg:desc {svg}>blue</svg:desc></text:a>"
    body = f"<text:p>Title: <text:title>Of Ducks</text:title>{drawing}, by Ann</text:p>"
    _, pages = parse(opendocument.make(tmp_path / "a.odt", formats.ODT, body), formats.ODT)
    assert pages[0].text == "Title: Of Ducks, by Ann"


def test_running_headers_stand_at_the_end_once(tmp_path: Path) -> None:
    page = "<header xmlns='x'><p>Confidential</p></header><footer xmlns='x'><p>7</p></footer>"
    styles = f"<styles>{page}{page}</styles>"
    path = opendocument.make(tmp_path / "a.odt", formats.ODT, "<text:p>x</text:p>", {"styles.xml": styles})
    assert parse(path, formats.ODT)[1][0].text == "x\n\nConfidential"


def test_sheets(tmp_path: Path) -> None:
    _, pages = parse(opendocument.ods(tmp_path / "a.ods"), formats.ODS)
    assert [(page.label, page.text) for page in pages] == [
        ("Ponds", "Of Ducks\n\nKind | Place\nKind: Teal; Place: swim in ponds.\n\nComment on D4: seen"),
        ("Lakes", "7"),
    ]


def test_repetition_costs_nothing(tmp_path: Path) -> None:
    cell = "<table:table-cell table:number-columns-repeated='999999999'><text:p>x</text:p></table:table-cell>"
    row = f"<table:table-row table:number-rows-repeated='999999999'>{cell}</table:table-row>"
    far = "<table:table-cell table:number-columns-repeated='16383'/><table:table-cell><text:p>end</text:p>"
    body = f"<table:table>{row}<table:table-row>{far}</table:table-cell></table:table-row></table:table>"
    _, pages = parse(opendocument.make(tmp_path / "a.ods", formats.ODS, body), formats.ODS)
    assert pages[0].text == "x\nend"


def test_slides(tmp_path: Path) -> None:
    _, pages = parse(opendocument.odp(tmp_path / "a.odp"), formats.ODP)
    assert [page.text for page in pages] == ["Of Ducks\n\nDucks swim in ponds.", "Geese graze.\n\nNotes: Speak slowly."]


@pytest.mark.parametrize("media_type", ALL)
def test_all_in_one_xml_file(tmp_path: Path, media_type: str) -> None:
    path = opendocument.flat(tmp_path / "a.xml", media_type)
    assert sniff.sniff(path.read_bytes(), path.name) == media_type
    header, pages = parse(path, media_type)
    assert header.title == "Flat"
    assert "Of Ducks" in pages[0].text
    path.write_text('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><office:document xmlns:office="o"/>')
    with pytest.raises(errors.DamagedDocument, match="entities"):
        parse(path, media_type)


@pytest.mark.parametrize("media_type", ALL)
@pytest.mark.parametrize("part", ["META-INF/manifest.xml", "encrypted-package"])
def test_encrypted(tmp_path: Path, media_type: str, part: str) -> None:
    path = opendocument.make(tmp_path / "a", media_type, more={part: opendocument.PROTECTED})
    with pytest.raises(errors.EncryptedDocument):
        parse(path, media_type)


@pytest.mark.parametrize("media_type", ALL)
def test_templates_and_other_kinds(tmp_path: Path, media_type: str) -> None:
    path = opendocument.make(tmp_path / "a", media_type, more={"mimetype": f"{media_type}-template"})
    assert sniff.sniff(path.read_bytes(), "a") == media_type


@given(trees)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_elements_give_clean_pages(tmp_path: Path, body: str) -> None:
    for media_type in ALL:
        _, pages = parse(opendocument.flat(tmp_path / "a.xml", media_type, body or "x"), media_type)
        for page in pages:
            assert [b.end for b in page.blocks] == sorted(b.end for b in page.blocks)
