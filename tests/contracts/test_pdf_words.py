"""The compiled loop over the words of PDF pages: it finds what Python finds, to the last bit, within its memory."""

from __future__ import annotations

import ctypes
import itertools
import re
import subprocess
from pathlib import Path

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadistiller.parsing.native import build, loop
from datadistiller.parsing.native.loop import Loop
from datadistiller.parsing.pdf import words as pdf_words
from tests.contracts.test_pdf_places import FOLDERS
from tests.fixtures import pdfs

DRIVER = Path(__file__).parents[1] / "native" / "words_driver.c"
#: Pages of one file that are compared.
PAGES = 25
SHOWN = "BT /F1 12 Tf {} Tm (Ducks swim, and geese fly.) Tj ET\n"


@pytest.fixture(scope="module")
def compiled() -> Loop:
    """The loop that is used."""
    if (found := loop.loaded()) is None:
        pytest.skip("the loop over words has not been compiled: no C compiler")
    return found


def compare(path: Path, compiled: Loop) -> int:
    """Both ways on the first pages of a file; how many words there are."""
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError:
        return 0
    words = 0
    with document:
        for number in range(min(len(document), PAGES)):
            try:
                page = document[number]
                textpage = page.get_textpage()
            except pypdfium2.PdfiumError:
                continue
            frame = pdf_words.frame_of(page)
            fast, slow = (pdf_words.find(textpage, frame, way) for way in (compiled, None))
            assert fast.words == slow.words and list(fast.firsts) == list(slow.firsts), (path.name, number)
            assert repr(fast.lines) == repr(
                [line._replace(bold=int(line.bold), has_matrix=int(line.has_matrix)) for line in slow.lines]
            )
            words += len(fast.words)
            textpage.close()
            page.close()
    return words


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_pages_of_our_own(tmp_path: Path, compiled: Loop, turned: int) -> None:
    """Level, slanted and upright lines, columns, wide gaps, marks above letters, on a page that is turned and cut."""
    lines = [
        SHOWN.format(matrix)
        for matrix in ("1 0 0 1 72 700", "0 1 -1 0 300 200", ".9 .4 -.4 .9 72 300", "2 0 0 1 72 90")
    ]
    columns = pdfs.page_content(
        [(72, 600, 11, "one two"), (320, 600, 11, "three"), (72, 588, 30, "\xe9\xdf high-"), (72, 570, 9, "er")]
    )
    path = pdfs.placed(tmp_path / "a.pdf", ["".join(lines) + columns, ""], f"/Rotate {turned}/CropBox[10 20 500 750]")
    assert compare(path, compiled) > 20


@pytest.mark.parametrize("folder", FOLDERS or ["none"])
def test_real_pages(compiled: Loop, folder: str) -> None:
    if not FOLDERS:
        pytest.skip("the real documents are not there (set DATADISTILLER_DATA)")
    words = sum(compare(path, compiled) for path in FOLDERS[folder])
    assert (words > 0) == (folder not in ("pdf_corrupt", "pdf_no_text_other", "none")), words


def test_white_space_is_that_of_python(compiled: Loop) -> None:
    is_space = compiled._library.ddw_is_space
    space = re.compile(r"\s")
    assert [n for n in range(0x110000) if bool(is_space(n)) != bool(space.match(chr(n)))] == []


def fake(*, box: float = 1.0) -> tuple[Loop, list[object]]:
    """The loop on a pdfium whose characters stand side by side, in a font of its own."""
    number, pointer, real = ctypes.c_int, ctypes.c_void_p, ctypes.c_double
    floats, doubles = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_double)

    def place(page: object, at: int, rect: ctypes.Array[ctypes.c_float]) -> int:
        for n, value in enumerate((at, 10.0, at + box, 0.0)):
            rect[n] = value
        return 1

    kept: list[object] = [
        ctypes.CFUNCTYPE(number, pointer, number, floats)(place),
        ctypes.CFUNCTYPE(number, pointer, number)(lambda page, at: at),
        ctypes.CFUNCTYPE(real, pointer, number)(lambda page, at: 9.0),
        ctypes.CFUNCTYPE(number, pointer, number, pointer)(lambda page, at, matrix: 0),
        ctypes.CFUNCTYPE(number, pointer, number)(lambda page, at: 400),
        ctypes.CFUNCTYPE(ctypes.c_ulong, pointer, number, pointer, ctypes.c_ulong, pointer)(lambda *a: 0),
        ctypes.CFUNCTYPE(number, pointer, number, doubles, doubles)(lambda page, at, x, y: 0),
    ]
    addresses = tuple(ctypes.cast(function, pointer).value or 0 for function in kept)  # type: ignore[arg-type]
    return Loop(functions=addresses), kept


def test_any_text_is_cut_into_the_same_words(compiled: Loop) -> None:
    on_fake, _kept = fake()

    @settings(max_examples=300, derandomize=True, database=None, deadline=None)
    @given(st.text(st.sampled_from("ab \n\t\x02\ufffe\u2003\x1c\U0001d11e\ud800"), max_size=60), st.booleans())
    def check(text: str, same: bool) -> None:
        lefts, rights, firsts, lines = on_fake.words(None, text, (600.0, 800.0, 0.0, 0.0, 0), same)
        found = list(pdf_words.WORD.finditer(text))
        units = [len(text[: match.start()].encode("utf-16-le", "surrogatepass")) // 2 for match in found]
        assert list(firsts) == ([match.start() for match in found] if same else units)
        assert len(lefts) == len(rights) == len(found)
        ends = [0, *(line[1] for line in lines)]
        assert ends == sorted(set(ends)) and ends[-1] == len(found)
        broken = {n for n, (one, after) in enumerate(itertools.pairwise(found), 1)
                  if "\n" in text[one.end() : after.start()] or one[0].endswith(pdf_words.BROKEN)}  # fmt: skip
        assert set(ends[1:-1]) == broken

    check()


def test_a_library_of_other_sources_is_not_used(tmp_path: Path, compiled: Loop) -> None:
    with pytest.raises(OSError):
        Loop(tmp_path / "none.so")
    source = tmp_path / "other.c"
    source.write_text("int ddw_interface(void) { return 999; }")
    subprocess.run([build.compiler(), "-shared", "-fPIC", str(source), "-o", str(tmp_path / "other.so")], check=True)
    with pytest.raises(OSError, match="other sources"):
        Loop(tmp_path / "other.so")


def test_without_a_compiler_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "")
    with pytest.raises(build.CannotBuild, match="no C compiler"):
        build.build(tmp_path / "made.so")


def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    try:
        cc = build.compiler()
    except build.CannotBuild as reason:
        pytest.skip(str(reason))
    program = tmp_path / "driver"
    sanitizing = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g1"]
    command = [
        cc,
        *build.FLAGS,
        *sanitizing,
        "-Wno-unused-result",
        f"-I{build.SOURCE.parent}",
        str(DRIVER),
        "-o",
        str(program),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode and "cannot find" in made.stderr:
        pytest.skip("this compiler comes without the sanitizers")
    assert made.returncode == 0, made.stderr
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "12000 texts\n"
