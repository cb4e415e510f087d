"""Where on this server a page is, and its picture: paths, since only the client knows by which name it calls us."""

from __future__ import annotations

from uuid import UUID

from datadistiller.parsing import drawing


def page(job_id: UUID, number: int) -> str:
    """The path of a page's text."""
    return f"/api/v2/documents/{job_id}/pages/{number}"


def image(job_id: UUID, number: int, media_type: str, marked: tuple[int, int] | None = None) -> str | None:
    """The path of a page's picture with the characters ``[start, end)`` marked; None if the format has none."""
    if not drawing.drawable(media_type):
        return None
    return f"{page(job_id, number)}.png" + (f"?highlight={marked[0]},{marked[1]}" if marked else "")
