"""Bounds that whoever sets up the stages chooses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What may be taken out of one upload: files, bytes, and how deep they may lie; what must stay free on the disk."""

    members: int
    bytes: int
    nesting: int
    free_bytes: int = 0
