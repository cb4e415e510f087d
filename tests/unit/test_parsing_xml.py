"""XML of any vocabulary, mailboxes, source code."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.model import Page, Problem
from datadistiller.parsing import formats, limits, registry, sniff
from datadistiller.parsing.markup import xml
from tests.fixtures import files
from tests.unit.test_parsing_binary import blocks_of, parse

NAMES = ("a", "p", "title", "tr", "td", "table", "w:p", "w:r", "sec")
trees = st.recursive(
    st.sampled_from(["", "word", " ", "&amp;", "&nbsp;"]),
    lambda inner: st.builds(
        lambda name, children: f"<{name} name='n'>{''.join(children)}</{name}>",
        st.sampled_from(NAMES),
        st.lists(inner, max_size=4),
    ),
    max_leaves=25,
)


def shown(body: str) -> list[tuple[str, int, str]]:
    """The blocks of an XML file."""
    return blocks_of(xml.convert(f"<doc>{body}</doc>")[1].build(1))


@pytest.mark.parametrize(
    ("body", "blocks"),
    [
        ("<a><n>Teal</n><w>300 g</w></a>", [("paragraph", 0, "n: Teal\nw: 300 g")]),
        ("<f name='City'>Paris</f><f name='Area' value='7'/>", [("paragraph", 0, "City: Paris\nArea: 7")]),
        ("<p><b>Bold</b> starts <i>a</i>text</p>", [("paragraph", 0, "Bold starts a text")]),
        ("<x>Loose <b>bo</b>ld</x><y>1</y>", [("paragraph", 0, "x: Loose bo ld\ny: 1")]),
        (
            "<title>One</title><sec><title>Two</title><p>text</p></sec><p>end</p>",
            [("heading", 1, "One"), ("heading", 2, "Two"), ("paragraph", 0, "text"), ("paragraph", 0, "end")],
        ),
        (
            "<table><tr><th>Kind</th><th>Weight</th></tr><tr><td>Teal</td><td/></tr><tr><td/><td>9</td></tr></table>",
            [("table", 0, "Kind | Weight\nKind: Teal\nWeight: 9")],
        ),
        ("<w:p><w:r><w:t>Hel</w:t></w:r><w:r><w:t>lo</w:t></w:r></w:p><x/>", [("paragraph", 0, "Hello")]),
        ("<n>A &amp; B &unknown; &nbsp;R&D</n>", [("paragraph", 0, "n: A & B R&D")]),
        (f"<data>{'QUJD' * 200}</data><n>x</n>", [("paragraph", 0, "n: x")]),
    ],
)
def test_shapes(body: str, blocks: list[tuple[str, int, str]]) -> None:
    assert shown(body) == blocks


def test_rows_stand_where_they_are_in_the_file() -> None:
    def row(cells: str) -> str:
        return f"<row>{''.join(f'<td>{cell}</td>' for cell in cells)}</row>"

    body = f"<p>first</p>{row('ab')}<p>then</p>{row('cd')}{row('ef')}<g><x>1</x><y>2</y></g>{row('gh')}<p>last</p>"
    assert shown(body) == [
        ("paragraph", 0, "first"), ("table", 0, "a | b"), ("paragraph", 0, "then"), ("table", 0, "c | d\nc: e; d: f"),
        ("paragraph", 0, "x: 1\ny: 2"), ("table", 0, "g | h"), ("paragraph", 0, "last"),
    ]  # fmt: skip
    assert shown(f"{row('ab')}<row><td>c</td><note>n</note></row>")[0] == ("table", 0, "a | b")
    assert shown(f"<table><thead>{row('ab')}</thead><tbody>{row('cd')}</tbody></table><p>end</p>") == [
        ("table", 0, "a | b\na: c; b: d"), ("paragraph", 0, "end"),
    ]  # fmt: skip


def test_literal_text_stays_as_it_is() -> None:
    assert shown("<title><![CDATA[Q & A <b> &amp; R&D]]></title>") == [("heading", 1, "Q & A <b> &amp; R&D")]
    assert shown("<!-- <![CDATA[ & --><n>R&D</n>") == [("paragraph", 0, "n: R&D")]
    with pytest.raises(errors.DamagedDocument):
        xml.convert("<a>" + "<![CDATA[ & " * 100_000)


def test_only_workbooks_have_styles_that_are_not_shown() -> None:
    styles = "<Styles><Style>Baroque</Style></Styles>"
    assert shown(styles) == [("paragraph", 0, "style: Baroque")]
    assert not xml.convert(f"<Workbook>{styles}</Workbook>")[1].build(1).text


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    for encoding in ("koi8-r", "shift_jis", "utf-16"):
        text = "утка" if encoding == "koi8-r" else "日本語テスト"
        path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?><a>{text}</a>'.encode(encoding))
        assert text in parse(path, formats.XML)[1][0].text


def test_entities_neither_grow_nor_reach_out(tmp_path: Path) -> None:
    with pytest.raises(errors.DamagedDocument, match="made of others"):
        xml.convert('<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><a>&b;</a>')
    secret = tmp_path / "secret"
    secret.write_text("hush")
    _, builder = xml.convert(f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]><a>seen &x;</a>')
    assert builder.build(1).text == "a: seen"


def test_damage_names_the_line() -> None:
    with pytest.raises(errors.DamagedDocument, match="line 3"):
        xml.convert("<a>\n<b>\n</a>")


def test_depth_and_breadth() -> None:
    assert "deep" in xml.convert("<a>" * 20_000 + "deep" + "</a>" * 20_000)[1].build(1).text
    page = xml.convert(f"<a>{'<b>x</b>' * 20_000}</a>")[1].build(1)
    assert page.text.count("b: x") == 20_000


@given(trees)
def test_any_elements_give_a_page(body: str) -> None:
    blocks = shown(body)
    assert all(text for _, _, text in blocks)


@given(st.text(st.sampled_from("<>/ ab='\"&;![]-?é"), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        xml.convert(text)
    except errors.DamagedDocument:
        return


class TestMailbox:
    """Where messages begin and end."""

    def test_messages(self, tmp_path: Path) -> None:
        _, pages = parse(files.sample(tmp_path, formats.MBOX), formats.MBOX)
        assert [(page.label, page.text) for page in pages] == [
            ("Of Ducks", "Of Ducks\n\nFrom: J <j@example.com>\n\nDucks swim in ponds.\n\nFrom here on they fly."),
            ("Of Geese", "Of Geese\n\nGeese graze."),
        ]

    def test_from_in_a_sentence_begins_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mbox"
        body = "Hello\nFrom here in 2025 on\n\nFrom January to June 2019 we sold ducks.\n\nFrom me"
        path.write_text(f"From a@b Mon Jan  6 10:00:00 2025\n\n{body}\n")
        assert [page.text for page in parse(path, formats.MBOX)[1]] == [body]

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
    def test_encodings(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "a.mbox"
        path.write_bytes(f"{files.MBOX}\nPõhi\u0a0a.\n".encode(encoding))
        assert sniff.sniff(path.read_bytes(), "a.txt") == formats.MBOX
        _, pages = parse(path, formats.MBOX)
        assert [page.label for page in pages] == ["Of Ducks", "Of Geese"]
        assert pages[1].text == "Of Geese\n\nGeese graze.\n\nPõhi\u0a0a."

    @pytest.mark.parametrize(
        ("before", "page"),
        [
            ("Exported by a program\nin 2025.\n", ("", "Exported by a program\nin 2025.")),
            ("Subject: Cut\n\nIts postmark is lost.\n\n", ("Cut", "Cut\n\nIts postmark is lost.")),
        ],
    )
    def test_what_stands_before_the_first_message_is_kept(
        self, tmp_path: Path, before: str, page: tuple[str, str]
    ) -> None:
        path = tmp_path / "a.mbox"
        path.write_text(f"\n{before}{files.MBOX}")
        _, pages = parse(path, formats.MBOX)
        assert (pages[0].label, pages[0].text) == page
        assert [page.label for page in pages[1:]] == ["Of Ducks", "Of Geese"]

    def test_a_message_that_cannot_be_read_costs_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.mbox"
        mark = "From a@b Mon Jan  6 10:00:00 2025\n"
        path.write_text(
            f"{mark}Subject: secret\nContent-Type: multipart/encrypted; boundary=x\n\n--x--\n\n"
            f"{mark}Subject: long\n\n{'x' * 3000}\n\n{mark}Subject: fine\n\nText.\n"
        )
        monkeypatch.setattr(limits, "MAX_MESSAGE_BYTES", 2000)
        _, pages = parse(path, formats.MBOX)
        assert [page.problem.code if page.problem else page.label for page in pages] == [
            "encrypted", "limit_exceeded", "fine",
        ]  # fmt: skip

    @pytest.mark.parametrize(("depth", "problem"), [(150, None), (3000, "damaged")])
    def test_parts_in_parts_without_end(self, tmp_path: Path, depth: int, problem: str | None) -> None:
        path = tmp_path / "a.mbox"
        mark = "From a@b Mon Jan  6 10:00:00 2025\n"
        parts = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(depth))
        path.write_text(f"{mark}Subject: deep\n{parts}\nLost.\n\n{mark}Subject: fine\n\nText.\n")
        items = list(registry.parser_of(formats.MBOX).parse(path, formats.MBOX))
        deep, fine = [item for item in items if isinstance(item, Page)]
        assert (deep.problem.code if deep.problem else None, fine.text) == (problem, "fine\n\nText.")
        told = [item.code for item in items if isinstance(item, Problem)]
        assert told == ([] if problem else ["nested_too_deep"]), "nothing is left out without a word"

    def test_no_message(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mbox"
        path.write_text("no mailbox")
        with pytest.raises(errors.DamagedDocument):
            parse(path, formats.MBOX)


def test_source_code(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("def a():\n    return 1\n\n\nprint(a())\n")
    assert blocks_of(parse(path, formats.CODE)[1][0]) == [
        ("code", 0, "def a():\n    return 1"),
        ("code", 0, "print(a())"),
    ]
