"""Cuts that the text itself picks, so that an edit moves no others than those near it.

Between two anchors cuts are placed by size. What an edit adds or takes moves those cuts up to the next anchor;
the anchors stay, because each depends on the text around it alone, not on what the page has above.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datadistiller.chunking.atoms import Atom

#: Characters of an atom that are hashed.
_HASHED_CHARS = 200
_HASHES = 1 << 32


def anchors(text: str, atoms: Sequence[Atom], tokens: NDArray[np.int64], reach: int) -> list[int]:
    """Which atoms are anchors, in order; the last is ``len(atoms)``, the end of the page.

    An anchor beats all atoms less than ``reach`` tokens from it: by the stronger joint, then by the lower hash of
    its text. So two are never nearer than that, and seldom further apart than three times that. ``tokens``: where
    each atom begins, counted in tokens, and where the last one ends.
    """
    ranks = _ranks(text, atoms)
    last, found = int(tokens[-1]) - reach, []
    at = int(np.searchsorted(tokens[:-1], reach))
    while at < len(atoms) and tokens[at] <= last:
        after = int(np.searchsorted(tokens[:-1], tokens[at] + reach))
        best = at + int(np.argmin(ranks[at:after]))
        if best > at:  # all before it have it in their reach
            at = best
            continue
        before = int(np.searchsorted(tokens[:-1], tokens[at] - reach, "right"))
        if np.count_nonzero(ranks[before:after] <= ranks[at]) == 1:
            found.append(at)
        at = after
    return [*found, len(atoms)]


def _ranks(text: str, atoms: Sequence[Atom]) -> NDArray[np.float64]:
    """How bad a place before each atom is for an anchor."""
    ranks = np.empty(len(atoms))
    after_heading = False
    for n, atom in enumerate(atoms):
        hashed = zlib.crc32(text[atom.start : min(atom.end, atom.start + _HASHED_CHARS)].encode()) / _HASHES
        ranks[n] = hashed - (0 if after_heading else atom.joint)
        after_heading = atom.level > 0
    return ranks
