"""What the parser process says is checked before it is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from datadistiller.cells import Cells
from datadistiller.model import Block, BlockKind, Line, Page, Problem
from datadistiller.parsing import protocol

PAGE = Page(
    3,
    "Ducks swim.\n\nGeese fly.",
    (Block(BlockKind.HEADING, 0, 11, 2), Block(BlockKind.PARAGRAPH, 13, 23)),
    "iii",
    size=(612.0, 792.5),
    lines=(Line(0, 11, 72.0, 72.1, 140.5, 84.0), Line(13, 23, 72.0, 96.0, 131.2, 108.0)),
    recognised=True,
    cells=(Cells(0, 11, 1, 1, 1, 2), Cells(13, 23, 3, 3, 1, 16_384)),
)


def travelled(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return protocol.unpack(protocol.pack(message)[protocol.LENGTH_BYTES :])


def test_a_page_arrives_as_it_was_sent() -> None:
    assert protocol.to_page(travelled(protocol.page_message(PAGE))) == PAGE


def test_a_warning_arrives_as_it_was_sent() -> None:
    warning = Problem("encoding_guessed", "The encoding was guessed.", "Save the file as UTF-8.")
    assert protocol.to_warning(travelled(protocol.warning_message(warning))) == warning


@pytest.mark.parametrize(
    "wrong",
    [
        {"lines": [0, 11, 0, 0, 1]},
        {"lines": [0, 99, 0, 0, 1, 1]},
        {"lines": [5, 9, 0, 0, 1, 1, 3, 12, 0, 0, 1, 1]},
        {"lines": [0, 11, 0, 0, 1, math.inf]},
        {"lines": [0, 11, 0, 0, 1, "wide"]},
        {"cells": [0, 11, 1, 1, 1]},
        {"cells": [0, 99, 1, 1, 1, 1]},
        {"cells": [0, 11, 0, 1, 1, 1]},
        {"cells": [0, 11, 2, 1, 1, 1]},
        {"cells": [0, 11, 1, 1, 1, 2**31]},
        {"cells": [0, 11, 1, 1, "A", 1]},
        {"size": [612]},
        {"size": [612, math.nan]},
        {"blocks": [0, 0, 99, 1]},
        {"text": "Ducks\0swim and the geese fly."},
    ],
)
def test_a_page_that_cannot_be_is_refused(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(protocol.Malformed):
        protocol.to_page(travelled({**protocol.page_message(PAGE), **wrong}))
