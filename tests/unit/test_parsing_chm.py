"""Compiled help files: what is read beyond the contract, and the packing."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import formats, limits, registry
from datadistiller.parsing.markup import lzx
from datadistiller.parsing.markup.chm import Help
from tests.fixtures import chm

DOCUMENTS = Path(os.environ.get("DATADISTILLER_DATA", "../shared/data")) / "documents" / "legacy_other"


def read(path: Path) -> list[Page]:
    return [item for item in registry.parser_of(formats.CHM).parse(path, formats.CHM) if isinstance(item, Page)]


def test_topics_are_pages_with_their_titles(tmp_path: Path) -> None:
    pages = read(chm.write(tmp_path / "a.chm", {**chm.TOPICS, "/c.gif": b"GIF", "/$x.htm": b"no"}))
    assert [(page.label, page.text) for page in pages] == [
        ("Of Ducks", "Of Ducks\n\nDucks swim in ponds."), ("", "Geese graze."),
    ]  # fmt: skip


def test_topics_that_cross_restarts(tmp_path: Path) -> None:
    words = "".join(f"<p>Duck {n}</p>" for n in range(20_000)).encode()
    (page,) = read(chm.write(tmp_path / "a.chm", {"/a.htm": words}))
    assert page.text.split("\n\n") == [f"Duck {n}" for n in range(20_000)]


def test_a_damaged_topic_costs_only_itself(tmp_path: Path) -> None:
    topics = {"/a.htm": b"<p>Ducks</p>".ljust(65_536), "/b.htm": b"<p>Geese</p>"}
    path = chm.write(tmp_path / "a.chm", topics)
    data = path.read_bytes()
    path.write_bytes(data.replace(chm.packed(topics["/a.htm"])[:4], b"\0\0\0\0"))
    first, second = read(path)
    assert first.problem is not None and first.problem.code == "damaged"
    assert second.text == "Geese"


def test_a_size_that_the_frames_do_not_have_is_damage(tmp_path: Path) -> None:
    with pytest.raises(errors.DamagedDocument):
        read(chm.write(tmp_path / "a.chm", size=1 << 40))


def test_bombs_are_refused_before_they_expand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.DamagedDocument):
        read(chm.write(tmp_path / "a.chm", every=1 << 20))  # all of it would be unpacked for one topic
    monkeypatch.setattr(limits, "RATIO_FREE_BYTES", 100)
    monkeypatch.setattr(limits, "MAX_RATIO", 0)
    with pytest.raises(errors.LimitExceeded):
        read(chm.write(tmp_path / "a.chm"))


@given(st.binary(max_size=300), st.sampled_from([15, 16, 21]))
def test_any_stream_ends(data: bytes, window: int) -> None:
    with contextlib.suppress(lzx.Broken):
        assert len(lzx.Decoder(data, window).read(5000)) == 5000


@pytest.mark.parametrize(("name", "topics"), [("tika__cmak_ops.CHM", 41), ("tika__gpedit.CHM", 20)])
def test_real_files_come_out_whole(name: str, topics: int) -> None:
    """These have blocks of the kinds that the fixtures have not; every topic is HTML to its end."""
    path = DOCUMENTS / name
    if not path.is_file():
        pytest.skip(f"the real documents are not at {DOCUMENTS} (set DATADISTILLER_DATA)")
    book = Help(path.read_bytes())
    names = book.topics()
    assert len(names) == topics
    assert all(re.search(rb"</html>\s*$", book.read(name), re.I) for name in names)
    assert all(page.text and "\ufffd" not in page.text for page in read(path))
