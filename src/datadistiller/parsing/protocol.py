"""What goes over the pipes between the sandbox and its child: JSON objects with their length in front.

Never pickle: the child reads hostile files, and what it sends is checked before it is believed.

    requests  {path, media_type, reader, first_page, last_page (null: to the end), max_pages, max_text_chars,
               cpu_seconds, password or null, max_attachments (null: none are wanted), max_attachment_bytes}
                                                              reader: which of those for the type, see ``registry``
               pause (null: never), known or null           of parsers that are ``InParts``: the page behind which they
                                                             pause, and what is known of those before the first
              {kind: part, path, media_type, reader, first_page, last_page, max_pages, max_text_chars, cpu_seconds,
               password or null}, and behind the last "looked" {known}
              {kind: draw, path, media_type, page, width, max_pixels, marks: [[left, top, right, bottom], ...],
               cpu_seconds}                                               marks: in parts of the page, see ``drawing``
    answers   {kind: ready, memory_bytes, confined_by}           confined_by: see ``confine.confine``
              {kind: header, parser, media_type, title, page_count, encoding}
              {kind: page, number, text, label, blocks: [kind, start, end, level, ...], problem,
               size: [width, height] or null, lines: [start, end, left, top, right, bottom, ...], recognised,
               cells: [start, end, top, bottom, left, right, ...]}
              {kind: learned, page, known}                  before a page behind which a reader may pause
              {kind: looked, page}                          of a part: it will be finished
              {kind: warning, code, message, hint}
              {kind: attachment, path, media_type, size, problem}   a file in the document; with a problem that is all
                  then its bytes, in pieces with their length in front, up to an empty piece, and
              {kind: attached, problem}             with one the bytes are worth nothing
              {kind: error, code, message, hint, where, memory_bytes}   ends the document
              {kind: end, memory_bytes}                                 ends the document, or the part
              {kind: pause, memory_bytes}                               more is left to read
              {kind: picture, memory_bytes}, and behind it the PNG itself with its length in front
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any, BinaryIO

from datadistiller import errors
from datadistiller.cells import Cells
from datadistiller.model import Block, BlockKind, Line, Page, Problem
from datadistiller.parsing import Header, Known

#: Bytes in front of every message: its length, big endian.
LENGTH_BYTES = 4

#: Exit status of a child that ran out of memory.
EXIT_MEMORY = 77

_LARGEST = 2**62
_MOST_CELLS = 2**31  # in a row or a column
_KINDS = tuple(BlockKind)
_KIND_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_ERRORS = {
    error.code: error
    for error in (
        errors.NoText,
        errors.EncryptedDocument,
        errors.DamagedDocument,
        errors.UnsupportedType,
        errors.EmptyDocument,
        errors.LimitExceeded,
        errors.ParserCrashed,
        errors.ParserTimedOut,
        errors.ParserOutOfMemory,
        errors.ObjectMissing,
    )
}


class Malformed(Exception):
    """The other side sent something that is no message of this protocol."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as it goes over the pipe."""
    return framed(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def framed(body: bytes) -> bytes:
    """Bytes as they go over the pipe."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def unpack(body: bytes) -> dict[str, Any]:
    """The message in ``body`` (without its length). Raises ``Malformed``."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("no JSON") from error
    if not isinstance(message, dict):
        raise Malformed("no object")
    return message


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message of a blocking stream; None at its end."""
    length = stream.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    return unpack(stream.read(int.from_bytes(length, "big")))


def header_message(header: Header) -> dict[str, Any]:
    """A header as a message."""
    return {
        "kind": "header",
        "parser": header.parser,
        "media_type": header.media_type,
        "title": header.title,
        "page_count": header.page_count,
        "encoding": header.encoding,
    }


def page_message(page: Page) -> dict[str, Any]:
    """A page as a message."""
    blocks: list[int] = []
    for block in page.blocks:
        blocks += (_KIND_NUMBERS[block.kind], block.start, block.end, block.level)
    problem = page.problem.as_json() if page.problem else None
    return {
        "kind": "page",
        "number": page.number,
        "text": page.text,
        "label": page.label,
        "blocks": blocks,
        "problem": problem,
        "size": page.size,
        "lines": [
            value
            for line in page.lines
            for value in (line.start, line.end, *(round(v, 1) for v in (line.left, line.top, line.right, line.bottom)))
        ],
        "recognised": page.recognised,
        "cells": [value for one in page.cells for value in astuple(one)],
    }


def warning_message(warning: Problem) -> dict[str, Any]:
    """A warning as a message."""
    return {"kind": "warning", **warning.as_json()}


def error_message(error: errors.DataDistillerError, where: str = "") -> dict[str, Any]:
    """An error that ends the document; ``where`` is for the log: types and lines of code, no contents."""
    return {"kind": "error", **error.problem().as_json(), "where": where}


def attachment_message(path: str, media_type: str, size: int, problem: Problem | None) -> dict[str, Any]:
    """What is said of an attachment before its bytes."""
    told = problem.as_json() if problem else None
    return {"kind": "attachment", "path": path, "media_type": media_type, "size": size, "problem": told}


def to_attachment(message: Mapping[str, Any]) -> tuple[str, str, int, Problem | None]:
    """Path, media type, size and problem of an attachment in a message. Raises ``Malformed``."""
    try:
        path, size = str(message["path"])[:4000], max(0, min(int(message["size"]), _LARGEST))
        return path, str(message["media_type"])[:200], size, to_problem(message)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("attachment") from error


def to_problem(message: Mapping[str, Any]) -> Problem | None:
    """The problem of an attachment in a message, None if there is none. Raises ``Malformed``."""
    try:
        problem = message["problem"]
        return to_warning(problem) if problem is not None else None
    except (KeyError, TypeError) as error:
        raise Malformed("problem") from error


def to_header(message: Mapping[str, Any]) -> Header:
    """The header in a message. Raises ``Malformed``."""
    try:
        count = message["page_count"]
        return Header(
            str(message["parser"])[:100],
            str(message["media_type"])[:200],
            str(message["title"])[:1000],
            None if count is None else int(count),
            str(message["encoding"])[:100],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("header") from error


def to_page(message: Mapping[str, Any]) -> Page:
    """The page in a message, its offsets checked. Raises ``Malformed``."""
    try:
        text, flat, problem = str(message["text"]), message["blocks"], message["problem"]
        blocks = tuple(
            Block(_KINDS[kind], start, end, level)
            for kind, start, end, level in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        )
        lines = tuple(_lines(message["lines"]))
        cells = tuple(_cells(message["cells"]))
        _check_order(blocks, len(text))
        _check_order(lines, len(text))
        _check_order(cells, len(text))
        text.encode()  # fails on lone surrogates, which JSON can carry
        if "\0" in text:
            raise Malformed("NUL")
        return Page(
            int(message["number"]),
            text,
            blocks,
            str(message["label"])[:200],
            Problem(problem["code"], problem["message"], problem["hint"]) if problem else None,
            _size(message["size"]),
            lines,
            bool(message["recognised"]),
            cells,
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Malformed("page") from error


def to_warning(message: Mapping[str, Any]) -> Problem:
    """The warning in a message. Raises ``Malformed``."""
    try:
        return Problem(str(message["code"])[:100], str(message["message"])[:1000], str(message["hint"])[:1000])
    except KeyError as error:
        raise Malformed("warning") from error


def to_learned(message: Mapping[str, Any], page: int) -> Known:
    """What is known behind ``page``; its contents are for another parser process, which believes none of it. Raises
    ``Malformed``."""
    known = message.get("known")
    if message.get("page") != page or not isinstance(known, dict):
        raise Malformed("learned")
    return known


def _check_order(ranges: Sequence[Block | Line | Cells], length: int) -> None:
    ends = [0, *(one.end for one in ranges)]
    if any(not before <= one.start <= one.end <= length for before, one in zip(ends, ranges, strict=False)):
        raise Malformed("offsets")


def _lines(flat: Sequence[Any]) -> Iterator[Line]:
    for at in range(0, len(flat), 6):
        start, end, *box = flat[at : at + 6]
        left, top, right, bottom = (_finite(value) for value in box)
        yield Line(int(start), int(end), left, top, right, bottom)


def _cells(flat: Sequence[Any]) -> Iterator[Cells]:
    for at in range(0, len(flat), 6):
        one = Cells(*(int(value) for value in flat[at : at + 6]))
        if not (0 < one.top <= one.bottom < _MOST_CELLS and 0 < one.left <= one.right < _MOST_CELLS):
            raise Malformed("cells")
        yield one


def _size(pair: Sequence[Any] | None) -> tuple[float, float] | None:
    if pair is None:
        return None
    width, height = (_finite(value) for value in pair)
    return width, height


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise Malformed("geometry")
    return number


def to_error(problem: Mapping[str, Any]) -> errors.DataDistillerError:
    """The exception that a problem of a document or a page stands for; an unknown code counts as damage."""
    kind = _ERRORS.get(str(problem.get("code")), errors.DamagedDocument)
    return kind(str(problem.get("message") or "")[:2000] or None, hint=str(problem.get("hint") or "")[:2000] or None)
