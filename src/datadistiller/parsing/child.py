"""The parser process: takes requests from standard input, writes pages or a picture to standard output.

    python -m datadistiller.parsing.child MEMORY_MB

It runs until its input ends; ``runtime.sandbox`` and ``runtime.pictures`` start it, limit its time, and kill it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from datadistiller import errors
from datadistiller.model import Page, Problem
from datadistiller.parsing import Attachment, Header, InParts, Item, Learned, Parser, Unlocking, confine, protocol
from datadistiller.parsing.attaching import Sender
from datadistiller.parsing.registry import Registry, parser_of


def main(registry: Registry = parser_of) -> None:
    """Runs the process. Libraries that print do so to standard error, not into the protocol."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    kernel = confine.confine(int(sys.argv[1]))
    _send(answers, {"kind": "ready", "memory_bytes": confine.memory_bytes(), "confined_by": kernel})
    while (request := protocol.read(requests)) is not None:
        confine.allow_cpu(request["cpu_seconds"])
        _answer(request, answers, registry, requests)


def _answer(request: Mapping[str, Any], answers: BinaryIO, registry: Registry, requests: BinaryIO) -> None:
    """Serves one request. Only ``MemoryError`` ends the process: afterwards nothing can be relied on."""
    try:
        if request.get("kind") == "draw":
            _draw(request, answers)
        elif request.get("kind") == "part":
            _part(request, answers, registry, requests)
        else:
            _parse(request, answers, registry)
    except MemoryError:
        os._exit(protocol.EXIT_MEMORY)
    except Exception as error:
        message = protocol.error_message(_translate(error), _where(error))
        _send(answers, message | {"memory_bytes": confine.memory_bytes()})


def _parse(request: Mapping[str, Any], answers: BinaryIO, registry: Registry) -> None:
    parser, pause = _parser(request, registry), None
    if isinstance(parser, InParts):
        pause = request["pause"]
        parser = parser.knowing(request["known"]) if request["known"] else parser
    items = parser.parse(Path(request["path"]), request["media_type"], request["first_page"])
    items = _up_to(request["last_page"], items)
    learned = 0
    attachments = Sender(request, answers, _translate)
    for item in _limited(items, request["max_pages"], request["max_text_chars"]):
        if isinstance(item, Attachment):
            attachments.send(item)
            continue
        _send(answers, _message(item))
        learned = item.page if isinstance(item, Learned) else learned
        if isinstance(item, Page) and item.number == pause == learned:
            _send(answers, {"kind": "pause", "memory_bytes": confine.memory_bytes()})
            return
    _send(answers, {"kind": "end", "memory_bytes": confine.memory_bytes()})


def _parser(request: Mapping[str, Any], registry: Registry) -> Parser:
    parser, password = registry(request["media_type"], request["reader"]), request["password"]
    return parser.unlocked_by(password) if password is not None and isinstance(parser, Unlocking) else parser


def _part(request: Mapping[str, Any], answers: BinaryIO, registry: Registry, requests: BinaryIO) -> None:
    """Looks at some pages, waits for what is known of those before, and finishes them."""
    parser = _parser(request, registry)
    if not isinstance(parser, InParts):
        raise errors.UnsupportedType(f"Documents of the type {request['media_type']} are not read in parts.")
    with parser.part(Path(request["path"]), request["first_page"], request["last_page"]) as part:
        for number in part.look():
            _send(answers, {"kind": "looked", "page": number})
        if (told := protocol.read(requests)) is None:
            return
        for item in _limited(part.finish(told["known"]), request["max_pages"], request["max_text_chars"]):
            if not isinstance(item, Attachment):
                _send(answers, _message(item))
    _send(answers, {"kind": "end", "memory_bytes": confine.memory_bytes()})


def _draw(request: Mapping[str, Any], answers: BinaryIO) -> None:
    from datadistiller.parsing import drawing  # most of these processes never draw

    what = (request[name] for name in ("media_type", "page", "width", "max_pixels", "marks"))
    made = drawing.picture(Path(request["path"]), *what)
    _send(answers, {"kind": "picture", "memory_bytes": confine.memory_bytes()})
    answers.write(protocol.framed(made))
    answers.flush()


def _message(item: Header | Page | Problem | Learned) -> dict[str, Any]:
    match item:
        case Header():
            return protocol.header_message(item)
        case Page():
            return protocol.page_message(item)
        case Problem():
            return protocol.warning_message(item)
        case Learned():
            return {"kind": "learned", "page": item.page, "known": item.known}


def _limited(items: Iterator[Item], max_pages: int, max_chars: int) -> Iterator[Item]:
    """Passes on what keeps the limits. Raises ``errors.LimitExceeded``."""
    pages = chars = 0
    for item in items:
        match item:
            case Header():
                pages = item.page_count or 0
            case Page():
                pages, chars = max(pages, item.number), chars + len(item.text)
        if pages > max_pages:
            raise errors.LimitExceeded(f"The document has more than {max_pages:,} pages (DATADISTILLER_MAX_PAGES).")
        if chars > max_chars:
            raise errors.LimitExceeded(
                f"The document has more than {max_chars:,} characters of text (DATADISTILLER_MAX_TEXT_CHARS)."
            )
        yield item


def _up_to(last_page: int | None, items: Iterator[Item]) -> Iterator[Item]:
    """What comes up to a page, with it; all, if none is the last."""
    for item in items:
        yield item
        if isinstance(item, Page) and item.number == last_page:
            return


def _translate(error: Exception) -> errors.DataDistillerError:
    match error:
        case errors.DataDistillerError():
            return error
        case FileNotFoundError() | PermissionError():
            return errors.ObjectMissing()
        case RecursionError():
            return errors.DamagedDocument("The file is nested too deeply to be read.")
    return errors.DamagedDocument(f"The file is damaged or not what its type says ({type(error).__name__}).")


def _where(error: Exception) -> str:
    """The type of an unforeseen error and the lines that led to it, for the log; no values."""
    if isinstance(error, errors.DataDistillerError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join([type(error).__name__, *(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[::-1])])


def _send(answers: BinaryIO, message: Mapping[str, Any]) -> None:
    answers.write(protocol.pack(message))
    answers.flush()


if __name__ == "__main__":
    main()
