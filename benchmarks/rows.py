"""A published figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, the bar its bar ("" if none), the figure, reached or not."""

    what: str
    bar: str
    figure: str
    reached: bool | None = None

    @property
    def verdict(self) -> str:
        """A word for the table."""
        return {None: "", True: "reached", False: "missed"}[self.reached]
