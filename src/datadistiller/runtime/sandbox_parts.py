"""Pages of a long document that a second process reads while the first one reads those before them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datadistiller import model
from datadistiller.parsing import Known, protocol
from datadistiller.runtime.sandbox_child import Child


@dataclass(frozen=True, slots=True)
class ReadPart:
    """Pages in order, what is known behind them, what there is to say of them, and what the process holds, bytes."""

    pages: list[model.Page]
    known: Known
    warnings: list[model.Problem] = field(default_factory=list)
    memory_bytes: int = 0


async def read_part(
    child: Child, request: Mapping[str, Any], known: asyncio.Future[Known], seconds: float, max_bytes: int
) -> ReadPart | None:
    """Has the pages read that are asked for; ``known`` comes when those before them are. None if the process says that
    something is wrong: whoever reads them as usual finds out what.

    Raises what ``Child.receive`` raises, and ``protocol.Malformed``. ``seconds`` is the time for each page.
    """
    first, last = request["first_page"], request["last_page"]
    child.ask(request)
    for number in range(first, last + 1):
        answer = await child.receive(seconds, max_bytes)
        if answer.get("kind") == "error":
            return None
        if (answer.get("kind"), answer.get("page")) != ("looked", number):
            raise protocol.Malformed("looked")
    await child.tell({"known": await known}, seconds)
    pages: list[model.Page] = []
    warnings: list[model.Problem] = []
    learned: Known | None = None
    while True:
        answer = await child.receive(seconds, max_bytes)
        match answer.get("kind"):
            case "page":
                pages.append(protocol.to_page(answer))
            case "learned":
                learned = protocol.to_learned(answer, last)
            case "warning":
                warnings.append(protocol.to_warning(answer))
            case "error":
                return None
            case _:
                break
    whole = [page.number for page in pages] == list(range(first, last + 1))
    if answer.get("kind") != "end" or learned is None or not whole:
        raise protocol.Malformed("part")
    return ReadPart(pages, learned, warnings, int(answer.get("memory_bytes") or 0))
