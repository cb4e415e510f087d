"""Reading forms: whatever the pieces they arrive in, whatever is wrong with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.api import multipart

TYPE = "multipart/form-data; boundary=XX"


def part(disposition: bytes, body: bytes) -> bytes:
    return b"--XX\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + body + b"\r\n"


def file_part(body: bytes, name: bytes = b'filename="a.txt"') -> bytes:
    return part(b'name="file"; ' + name, body)


END = b"--XX--\r\n"


async def arriving(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(*pieces: bytes, content_type: str = TYPE) -> tuple[str, bytes, dict[str, str]]:
    form = multipart.Form(content_type, arriving(pieces))
    name = await form.open_file()
    body = b"".join([piece async for piece in form.content()])
    return name, body, await form.rest()


async def test_fields_may_come_before_and_after_the_file() -> None:
    form = part(b'name="collection"', b"c") + file_part(b"hello") + part(b'name="priority"', b"bulk") + END
    assert await read(form) == ("a.txt", b"hello", {"collection": "c", "priority": "bulk"})


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=40))
def test_pieces_of_any_size_give_the_same(body: bytes, size: int) -> None:
    form = part(b'name="metadata"', b"{}") + file_part(body + b"\r\n--X") + END
    pieces = [form[i : i + size] for i in range(0, len(form), size)]
    assert asyncio.run(read(*pieces)) == ("a.txt", body + b"\r\n--X", {"metadata": "{}"})


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b'filename="a.txt"', "a.txt"),
        (b"filename=a.txt", "a.txt"),
        ('filename="Übersicht 📄.pdf"'.encode(), "Übersicht 📄.pdf"),
        (b"filename=\"x.txt\"; filename*=UTF-8''%C3%9Cber%20%F0%9F%93%84.pdf", "Über 📄.pdf"),
        (b"filename*=iso-8859-1'de'%DCber.pdf; filename=\"x.txt\"", "Über.pdf"),
        (b"filename=\"x.txt\"; filename*=UTF-8''%FF%FE", "x.txt"),
        (b"filename=\"x.txt\"; filename*=klingon''abc", "x.txt"),
        (b"filename=\"x.txt\"; filename*=undefined''abc", "x.txt"),
        (b'filename="a \\"b\\".txt"', 'a "b".txt'),
        (b'filename="a %22b%22.txt"', 'a "b".txt'),
        (b'filename="../../etc/passwd"', "passwd"),
        (b'filename="C:\\Users\\me\\a.txt"', "a.txt"),
        (b'filename="a%0D%0Ab.txt"', "ab.txt"),
        (b'filename="\xff\xfe.txt"', "\ufffd\ufffd.txt"),
        ('filename="exe\u202egpj.txt"'.encode(), "exegpj.txt"),
        (b'filename=""', "document"),
        (b'filename=".."', "document"),
        (b"x=y", "document"),
    ],
)
async def test_file_names(sent: bytes, meant: str) -> None:
    name, _, _ = await read(file_part(b"1", sent) + END)
    assert name == meant


async def test_a_name_of_300_characters_keeps_its_extension() -> None:
    name, _, _ = await read(file_part(b"1", b'filename="' + ("😀" * 300).encode() + b'.pdf"') + END)
    assert name == "😀" * 251 + ".pdf"


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (part(b'name="collection"', b"c") + END, "no field 'file'"),
        (file_part(b"1") + file_part(b"2") + END, "more than one"),
        (file_part(b"1"), "ends in the middle"),
        (file_part(b"1")[:-10], "ends in the middle"),
        (b"", "ends in the middle"),
        (b"not a form at all", "well-formed"),
        (part(b'nam="file"', b"1") + END, "no name"),
        (b"--XX\r\n\r\n1\r\n" + END, "no name"),
        (part(b'name="a"', b"1") + part(b'name="a"', b"2") + file_part(b"1") + END, "twice"),
        (b"".join(part(b'name="f%d"' % n, b"1") for n in range(40)) + file_part(b"1") + END, "too many"),
        (part(b'name="metadata"', b"x" * 20_000) + file_part(b"1") + END, "longer than 16384"),
        (part(b'name="metadata"', b"\xff\xfe") + file_part(b"1") + END, "not UTF-8"),
        (file_part(b"1") + END + b"x" * 8000, "goes on"),
        (part(b'name="' + b"a" * 20_000 + b'"', b"1") + file_part(b"1") + END, "well-formed"),
    ],
)
async def test_what_is_wrong_is_said(form: bytes, says: str) -> None:
    pieces = [form[i : i + 1000] for i in range(0, len(form), 1000)]
    with pytest.raises(errors.InvalidRequest, match=says):
        await read(*pieces)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary="])
async def test_other_content_types(kind: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="field named 'file'"):
        await read(b"", content_type=kind)


async def test_an_endless_boundary() -> None:
    with pytest.raises(errors.InvalidRequest, match="boundary"):
        await read(b"", content_type="multipart/form-data; boundary=" + "x" * 300)


async def test_a_silent_sender_is_given_up() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield file_part(b"1")[:-2]
        await asyncio.Event().wait()

    form = multipart.Form(TYPE, silent(), stall_seconds=0.01)
    await form.open_file()
    with pytest.raises(errors.UploadStalled):
        [piece async for piece in form.content()]


async def test_nothing_is_read_ahead_of_who_takes_it() -> None:
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        yield file_part(b"")[:-2]
        for _ in range(1000):
            taken += 1
            yield b"x" * 1000

    form = multipart.Form(TYPE, counted())
    await form.open_file()
    content = form.content()
    await anext(content)
    assert taken <= 2
