"""Compares PostgreSQL, the object store and the search index completely. What differs is named.

A system at work is never quite at rest: documents come and go between two looks. Therefore a difference counts only
if it is still there when looked at again, and a chunk that the change feed announces is on its way.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from datadistiller import errors, indexing, objects
from datadistiller.runtime.doctor import Finding, Level
from datadistiller.store.audit import RULES, Audit

#: Chunks compared at once.
PAGE = 50_000
#: Differences kept of one kind; what is beyond is the same disaster.
MOST = 1000
#: For how long a difference is looked at again, and how often, seconds.
PATIENCE, PAUSE = 15.0, 1.0
EXAMPLES = 3
_BATCH = 1000  # objects


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares the stores of one system."""

    audit: Audit
    store: objects.ObjectStore
    index: indexing.Index
    sweep_grace_seconds: float
    patience: float = PATIENCE

    async def compare(self) -> list[Finding]:
        """What differs, as errors; else one finding that says how much agrees. A part that is away is a finding."""
        found: list[Finding] = []
        for part, look in (("database", self._database), ("index", self._index), ("objects", self._objects)):
            try:
                found += await look()
            except errors.DataDistillerError as error:
                found.append(Finding(Level.ERROR, part, f"It could not be compared: {error.message}", error.hint))
        return found or [await self._all_well()]

    async def _all_well(self) -> Finding:
        documents, chunks = await self.audit.totals()
        text = f"Database, object store and index agree on all {documents} documents and {chunks} chunks."
        return Finding(Level.OK, "comparison", text)

    async def _database(self) -> list[Finding]:
        broken = await self.audit.broken()
        again = {rule.rule for rule in await self.audit.broken()} if broken else set()
        hint = "Start such documents again (cancel, then retry); please report how it came to this."
        return [
            _finding("database", RULES[rule.rule].format(n=rule.total), rule.examples, hint)
            for rule in broken
            if rule.rule in again
        ]

    async def _index(self) -> list[Finding]:
        missing, extra, doubled = await self._stubborn_in_index()
        hint = "Run 'datadistiller rebuild-index'."
        found = []
        if missing:
            text = f"{_many(missing)} chunks are missing in the index"
            found.append(_finding("index", text, missing, hint))
        if extra:
            text = f"{_many(extra)} chunks are in the index that do not belong there"
            found.append(_finding("index", text, extra, hint))
        if doubled:
            text = f"The index counts {doubled} chunks more than it lists: they are in it more than once."
            found.append(Finding(Level.ERROR, "index", text, hint))
        return found

    async def _stubborn_in_index(self) -> tuple[set[int], set[int], int]:
        """Chunk numbers that are missing, that are too many, and how many are doubled: each time it was looked."""
        until = time.monotonic() + self.patience
        missing, extra, doubled = await self._index_once()
        while (missing or extra or doubled) and time.monotonic() < until:
            await asyncio.sleep(PAUSE)
            missing_now, extra_now, doubled_now = await self._index_once()
            missing, extra, doubled = missing & missing_now, extra & extra_now, min(doubled, doubled_now)
        return missing, extra, doubled

    async def _index_once(self) -> tuple[set[int], set[int], int]:
        missing: set[int] = set()
        extra: set[int] = set()
        first, listed, counted = 0, 0, await self.index.count()
        while True:
            live, held = await self.audit.live(first, PAGE), await self.index.contents(first, PAGE)
            last = _known_until(live, held)
            wanted, there = _up_to(live, last), _up_to(held, last)
            listed += len(there)
            missing |= {number for number, chunk in wanted.items() if there.get(number) != chunk}
            extra |= there.keys() - wanted.keys()
            if last is None or len(missing) + len(extra) > MOST:
                break
            first = last + 1
        coming = await self.audit.announced([*missing, *extra]) if missing or extra else set()
        counted = min(counted, await self.index.count())  # while it grows or shrinks, the smaller is the one to hold
        return missing - coming, extra - coming, max(0, counted - listed) if last is None else 0

    async def _objects(self) -> list[Finding]:
        begun = datetime.now(UTC)
        # The sweeper takes an orphan when it sees it for the second time.
        before = begun - 2 * timedelta(seconds=self.sweep_grace_seconds)
        async with self.audit.listing() as listing:
            batch: list[tuple[str, int, datetime]] = []
            async for found in self.store.list(objects.UPLOADS):
                batch.append((found.key, found.size, found.modified))
                if len(batch) >= _BATCH:
                    await listing.add(batch)
                    batch = []
            await listing.add(batch)
            missing = await listing.missing(begun, MOST)
            orphaned = await listing.orphaned(before, MOST)
        return [*await self._lost(missing), *await self._orphaned(orphaned)]

    async def _lost(self, suspects: dict[str, int]) -> list[Finding]:
        wanted = await self.audit.still_wanted(list(suspects)) if suspects else set()
        sizes = {key: await self._size(key) for key in suspects if key in wanted}
        gone = [key for key, size in sizes.items() if size is None]
        other = [key for key, size in sizes.items() if size not in (None, suspects[key])]
        hint = "Bring the files back from a backup, or delete these documents and upload them again."
        found = []
        if gone:
            found.append(_finding("objects", f"{_many(gone)} documents have lost their file", gone, hint))
        if other:
            text = f"{_many(other)} files have another size than when they were uploaded"
            found.append(_finding("objects", text, other, hint))
        return found

    async def _orphaned(self, suspects: list[str]) -> list[Finding]:
        wanted = await self.audit.still_wanted(suspects) if suspects else set()
        left = [key for key in suspects if key not in wanted and await self._size(key) is not None]
        if not left:
            return []
        hint = "The sweeper takes them: does a process with the role 'reaper' run? See its log."
        return [_finding("objects", f"{_many(left)} files belong to no document", left, hint)]

    async def _size(self, key: str) -> int | None:
        try:
            return await self.store.size(key)
        except errors.ObjectMissing:
            return None


def _known_until(*pages: dict[int, UUID]) -> int | None:
    """The last number up to which all pages are complete; None if they are complete altogether."""
    return min((max(page) for page in pages if len(page) == PAGE), default=None)


def _up_to(page: dict[int, UUID], last: int | None) -> dict[int, UUID]:
    return page if last is None else {number: chunk for number, chunk in page.items() if number <= last}


def _many(found: Collection[object]) -> str:
    return f"At least {MOST}" if len(found) >= MOST else str(len(found))


def _finding(part: str, text: str, examples: Iterable[object], hint: str) -> Finding:
    shown = ", ".join(str(example) for example in itertools.islice(sorted(examples, key=str), EXAMPLES))
    return Finding(Level.ERROR, part, f"{text}, for example {shown}.", hint)
