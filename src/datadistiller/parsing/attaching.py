"""Attachments on their way out of the parser process: told apart, counted, and sent in pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from datadistiller import errors
from datadistiller.model import Problem
from datadistiller.parsing import Attachment, limits, pages, protocol, sniff

#: Of a path within a document, characters; the end of it tells more than the beginning.
MAX_PATH = 500

#: Marks that reorder text can make "gpj.exe" look like "exe.jpg".
REORDERING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DRIVE = re.compile(r"^[A-Za-z]:")
#: The control characters that texts may hold, but no name does: a terminal obeys them.
_CONTROLS = re.compile("[\x80-\x9f]")


def clean_path(path: str) -> str:
    """A path within a document, for showing: never absolute, never upwards, on one line in its order, not empty."""
    text = " ".join(_CONTROLS.sub("", REORDERING.sub("", pages.clean(path))).replace("\\", "/").split())
    parts = [part.strip() for part in _DRIVE.sub("", text).split("/")]
    return "/".join(part for part in parts if part not in ("", ".", ".."))[-MAX_PATH:].lstrip("/") or "unnamed"


class Sender:
    """Sends the attachments of one document, within its limits.

    What is read, sent or not, may be ``limits.MAX_RATIO`` times the size of the document, and some more for small
    ones: whatever a bomb is made of, it gets no further.
    """

    def __init__(
        self, request: Mapping[str, Any], answers: BinaryIO, translate: Callable[[Exception], errors.DataDistillerError]
    ) -> None:
        self._answers = answers
        self._translate = translate
        self._wanted = request["max_attachments"] is not None
        self._members = int(request["max_attachments"] or 0)
        self._bytes = int(request["max_attachment_bytes"])
        self._work = limits.RATIO_FREE_BYTES + limits.MAX_RATIO * Path(request["path"]).stat().st_size
        self._told = False  # that there are too many

    def send(self, attachment: Attachment) -> None:
        """Sends one, or why it is not sent. Only ``MemoryError`` comes out of this."""
        if not self._wanted:
            return
        if self._members <= 0:
            self._say_too_many()
            return
        self._members -= 1
        path = clean_path(attachment.path)
        problem = attachment.problem or self._too_large(attachment.size or 0)
        if problem is None:
            try:
                self._send(path, attachment)
                return
            except errors.DataDistillerError as error:
                problem = error.problem()
        self._put(protocol.attachment_message(path, "", attachment.size or 0, problem))

    def _send(self, path: str, attachment: Attachment) -> None:
        """Raises what keeps it from being sent at all; what comes up on the way is told at the end."""
        pieces = self._counted(iter(attachment.pieces))
        head = bytearray()
        while len(head) < sniff.HEAD_BYTES and (piece := next(pieces, b"")):
            head += piece
        media_type = sniff.sniff(bytes(head[: sniff.HEAD_BYTES]), path.rpartition("/")[2])
        self._put(protocol.attachment_message(path, media_type, attachment.size or 0, None))
        sent, problem = 0, None
        try:
            for piece in _and_then(bytes(head), pieces):
                sent += len(piece)
                if over := self._too_large(sent):
                    problem = over
                    break
                self._piece(piece)
        except errors.DataDistillerError as error:
            problem = error.problem()
        self._piece(b"")
        self._bytes -= 0 if problem else sent
        told = problem.as_json() if problem else None
        self._put({"kind": "attached", "problem": told})

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces, none empty or too large, as long as the work is worth it."""
        while True:
            if self._work <= 0:
                raise errors.LimitExceeded(
                    f"The file expands to more than {limits.MAX_RATIO} times its size.",
                    hint="If that is how it should be, unpack it and upload what is in it.",
                )
            try:
                piece = next(pieces, None)
            except MemoryError:
                raise
            except Exception as error:  # whatever the libraries of so many formats raise
                raise self._translate(error) from error
            if piece is None:
                return
            self._work -= len(piece)
            for at in range(0, len(piece), limits.PIECE_BYTES):
                yield piece[at : at + limits.PIECE_BYTES]

    def _too_large(self, size: int) -> Problem | None:
        if size <= self._bytes:
            return None
        return errors.LimitExceeded(
            f"With this file, what is taken out of one upload would be more than it may be: {self._bytes:,} bytes are "
            "left (DATADISTILLER_MAX_ATTACHMENT_BYTES).",
            hint="Upload it by itself.",
        ).problem()

    def _say_too_many(self) -> None:
        if not self._told:
            problem = errors.LimitExceeded(
                "There are more files in it than are taken out of one upload (DATADISTILLER_MAX_ATTACHMENTS).",
                hint="Upload the others by themselves.",
            ).problem()
            self._put(protocol.attachment_message("and more", "", 0, problem))
            self._told = True

    def _piece(self, piece: bytes) -> None:
        self._answers.write(len(piece).to_bytes(protocol.LENGTH_BYTES, "big") + piece)
        self._answers.flush()

    def _put(self, message: Mapping[str, Any]) -> None:
        self._answers.write(protocol.pack(message))
        self._answers.flush()


def _and_then(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for at in range(0, len(head), limits.PIECE_BYTES):
        yield head[at : at + limits.PIECE_BYTES]
    yield from pieces
