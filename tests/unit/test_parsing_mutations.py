"""Altered files of every type through the code of the parser process: an answer that is believed, or a stated error."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.parsing import child, formats, protocol, registry, sniff
from tests.fixtures import files

#: Recognising pictures takes seconds each; they are altered in the contract of the parsers.
TYPES = [media_type for media_type in formats.BY_MEDIA_TYPE if not media_type.startswith("image/")]
READERS = [(media_type, reader) for media_type in TYPES for reader in range(registry.readers(media_type))]
MOST_PAGES, MOST_CHARS = 20, 2_000
#: The same examples every time, and no database of earlier ones.
FIXED = settings(
    max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
#: What is done to a file, one after the other: at (a share of its length), what, with which byte.
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "cut", "repeat", "drop"]), st.integers(0, 255)
    ),
    min_size=1,
    max_size=6,
)


def changed(data: bytes, changes: list[tuple[float, str, int]]) -> bytes:
    """The file after these changes; at most 100 times as long."""
    for share, what, value in changes:
        at = int(share * len(data))
        match what:
            case "set":
                data = data[:at] + bytes([value]) + data[at + 1 :]
            case "cut":
                data = data[: max(at, 1)]
            case "repeat":
                data = data[:at] + data[at : at + 8] * min(value, 100) + data[at:]
            case "drop":
                data = data[:at] + data[at + value :]
    return data


def answers(path: Path, media_type: str, reader: int) -> Iterator[dict[str, Any]]:
    """What the process says about a file."""
    request = {
        "path": str(path), "media_type": media_type, "reader": reader, "first_page": 1, "last_page": None,
        "max_pages": MOST_PAGES, "max_text_chars": MOST_CHARS, "password": None, "max_attachments": None,
        "max_attachment_bytes": 0, "pause": None, "known": None,
    }  # fmt: skip
    said = io.BytesIO()
    child._answer(request, said, registry.parser_of, io.BytesIO())
    said.seek(0)
    while (answer := protocol.read(said)) is not None:
        yield answer


@pytest.mark.parametrize(("media_type", "reader"), READERS)
def test_altered_files_are_read_or_refused(media_type: str, reader: int) -> None:
    """One end, the last answer; before it a header and pages that are sound and within the limits."""
    with tempfile.TemporaryDirectory() as name:
        whole = files.sample(Path(name), media_type).read_bytes()
        path = Path(name) / "altered"

        @FIXED
        @given(CHANGES)
        def check(changes: list[tuple[float, str, int]]) -> None:
            path.write_bytes(changed(whole, changes))
            *before, last = answers(path, media_type, reader)
            assert last["kind"] in ("end", "error")
            if last["kind"] == "error":
                assert protocol.to_error(last).code == last["code"] and last["message"]
            pages = [protocol.to_page(answer) for answer in before if answer["kind"] == "page"]
            assert [page.number for page in pages] == list(range(1, len(pages) + 1))
            assert len(pages) <= MOST_PAGES and sum(len(page.text) for page in pages) <= MOST_CHARS
            assert {answer["kind"] for answer in before} <= {"header", "page", "warning"}
            if pages or last["kind"] == "end":
                protocol.to_header(before[0] if before[0]["kind"] == "header" else {})

        check()
        assert [answer["kind"] for answer in answers(files.sample(Path(name), media_type), media_type, reader)][
            -1
        ] == "end"


@pytest.mark.parametrize("media_type", formats.BY_MEDIA_TYPE)
def test_the_type_of_an_altered_file_is_one_or_none(tmp_path: Path, media_type: str) -> None:
    """Whatever its name says."""
    head = files.sample(tmp_path, media_type).read_bytes()[: sniff.HEAD_BYTES]

    @FIXED
    @given(CHANGES, st.sampled_from(["a", *(f"a{kind.extensions[0]}" for kind in formats.FORMATS)]))
    def check(changes: list[tuple[float, str, int]], filename: str) -> None:
        try:
            assert sniff.sniff(changed(head, changes)[: sniff.HEAD_BYTES], filename) in formats.BY_MEDIA_TYPE
        except errors.UnreadableDocument as error:
            assert error.message and error.hint

    check()
