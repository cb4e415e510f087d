"""Has an encrypted file read with the password that was given for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from datadistiller import errors, model
from datadistiller.messages import Delivery
from datadistiller.parsing import formats
from datadistiller.stages.attachments import Intake
from datadistiller.stages.ports import DocumentParser, Jobs


async def parse(
    parser: DocumentParser,
    jobs: Jobs,
    delivery: Delivery,
    path: Path,
    media_type: str,
    on_page: Callable[[int, int | None], Awaitable[None]],
    attachments: Intake,
) -> model.ParsedDocument:
    """What ``parser.parse`` gives. The password is looked up, and shown to a parser, only if the file needs one.

    An archive is read whether its files are encrypted or not, so of it nobody knows before.
    """
    if media_type == formats.ZIP and (password := await jobs.password(delivery)) is not None:
        return await parser.parse(path, media_type, on_page, attachments, password=password)
    try:
        return await parser.parse(path, media_type, on_page, attachments)
    except errors.EncryptedDocument:
        password = await jobs.password(delivery)
        if password is None:
            raise
        return await parser.parse(path, media_type, on_page, attachments, password=password)
