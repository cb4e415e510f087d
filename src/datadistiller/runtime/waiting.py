"""Waiting for whatever comes first."""

from __future__ import annotations

import asyncio


async def wait(seconds: float, *events: asyncio.Event) -> None:
    """Waits until one of the events is set, but not longer than that."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
