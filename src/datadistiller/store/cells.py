"""The form in which ``document_chunks.cells`` keeps which cells of a sheet a chunk says: 24 bytes a run of rows.

Little endian, uint32 each: ``start`` and ``end`` (characters of the page's text, half open), then ``top``, ``bottom``,
``left`` and ``right``, from 1. A chunk out of the middle of a table is one run. They are kept with chunks, and not with
pages as lines are, because a page may be a sheet of a million rows, of which a citation needs ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np

from datadistiller.cells import Cells

_FORM = np.dtype("<u4")


def pack(cells: Sequence[Cells]) -> bytes | None:
    """The cells as they are stored; None if there are none."""
    return np.array([astuple(one) for one in cells], _FORM).tobytes() if cells else None


def unpack(stored: bytes | None) -> Sequence[Cells]:
    """The cells that were stored."""
    return [Cells(*values) for values in np.frombuffer(stored or b"", _FORM).reshape(-1, 6).tolist()]
