"""The follower's side of the index in OpenSearch: taking the lead, bulk writes, a rebuild beside the one in use."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from datadistiller import errors
from datadistiller.indexing import Entry
from datadistiller.indexing import opensearch_layout as layout
from datadistiller.indexing.opensearch_client import Client, Refused
from datadistiller.indexing.opensearch_indexes import Found, Indexes
from datadistiller.indexing.opensearch_layout import Content, Names, Shape

#: A request of a commit holds about so many bytes; so many are under way at once.
BULK_BYTES = 5_000_000
BULKS = 2
#: A write may wait so long for its turn and for the disk, and so long for a shard without a node.
BULK_SECONDS = 60.0
SHARD_SECONDS = 5
#: Chunks listed at once.
PAGE = 10_000
#: An index of which a part is missing for so long is given up and built anew, seconds: its disk may be lost.
MISSING_SECONDS = 300.0
#: Versions of an epoch: one per commit.
EPOCH_BITS = 20

_DONE = (200, 201)
_MISSING = "A part of the search index is missing: one of its shards has no node."
_NOT_THERE = "The search index is not there any more, or another process has taken it over."
log = structlog.get_logger(__name__)


class OpenSearchWriter:
    """Implements ``IndexWriter``. Every write carries a version that only grows, so that one that a proxy or the
    network repeats late changes nothing; ``opensearch_indexes`` says how earlier leaders are kept out.

    A commit ends with the refresh that makes it visible, on the replicas too: it is answered when all copies have been
    refreshed (the replication type is DOCUMENT for that reason). Nothing else refreshes the index, so that a commit is
    one small part of it and not ten: a search goes through the graph of each part.
    """

    def __init__(
        self, client: Client, content: Content, shape: Shape, missing_seconds: float = MISSING_SECONDS
    ) -> None:
        self._client = client
        self._content = content
        self._names = Names.of(client.access.prefix, content.fingerprint)
        self._indexes = Indexes(client, self._names, content, shape)
        self._missing_seconds = missing_seconds
        self._missing_since: float | None = None
        self._staged: dict[int, Entry | None] = {}
        self._epoch = 0
        self._commits = 0  # within the epoch
        self._known: list[Found] = []  # when the lead was taken
        self._mine: dict[str, str] = {}  # writer's alias by index
        self._serving: str | None = None
        self._building: str | None = None

    async def lead(self) -> bool:
        """Takes the indexes over. Raises ``errors.Unavailable`` while a part of the one in use is missing, for some
        minutes: it may come back; and ``errors.SetupError`` if they belong to another database."""
        self._staged, self._serving, self._building = {}, None, None
        self._known = await self._indexes.survey()
        self._refuse_strangers()
        self._epoch = max([time.time_ns() // 1_000_000, *(1 + each.epoch for each in self._known)])
        self._commits = 0
        self._mine = await self._indexes.take(self._known, self._epoch)
        for each in self._known:
            if each.searched and each.name in self._mine and await self._whole(each.name):
                await self._indexes.drain(each.name)
                self._serving = each.name
        return self._serving is not None

    def _refuse_strangers(self) -> None:
        """Two databases with one index would each delete what the other has written."""
        for each in self._known:
            if each.owner not in ("", self._content.owner):
                raise errors.SetupError(
                    f"The search index '{each.name}' belongs to another database.",
                    hint="Give this one a name: DATADISTILLER_INDEX_URL=opensearch://host/NAME; or delete that index.",
                )

    async def _whole(self, index: str) -> bool:
        if await self._indexes.whole(index):
            self._missing_since = None
            return True
        now = time.monotonic()
        self._missing_since = self._missing_since or now
        if now - self._missing_since < self._missing_seconds:
            raise errors.Unavailable(_MISSING)
        log.warning("index_given_up", index=index, missing_seconds=round(now - self._missing_since))
        return False

    async def contents(self, first: int = 0, limit: int | None = None) -> dict[int, UUID]:
        """Listed in order of the chunk numbers; who never took the lead lists what searches see."""
        found: dict[int, UUID] = {}
        index = self._building or self._serving or (None if self._epoch else self._names.alias)
        after = first - 1
        while index is not None and (limit is None or len(found) < limit):
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            page = await self._page(index, after, size)
            found |= page
            if len(page) < size:
                break
            after = max(page)
        return found

    async def _page(self, index: str, after: int, size: int) -> dict[int, UUID]:
        body = {
            "size": size,
            "sort": [{"chunk_no": "asc"}],
            "search_after": [after],
            "stored_fields": "_none_",
            "docvalue_fields": ["chunk_id"],
            "track_total_hits": False,
        }
        parameters = {"allow_partial_search_results": "false", "filter_path": "hits.hits.sort,hits.hits.fields"}
        answer = await self._client.call("POST", f"/{index}/_search", body, parameters)
        hits = answer.get("hits", {}).get("hits", ())
        return {int(hit["sort"][0]): UUID(hit["fields"]["chunk_id"][0]) for hit in hits}

    async def add(self, entries: Sequence[Entry]) -> None:
        """Keeps the chunks in memory until ``commit``."""
        self._staged.update((entry.chunk_no, entry) for entry in entries)

    async def remove(self, chunk_nos: Sequence[int]) -> None:
        """Keeps the numbers in memory until ``commit``."""
        self._staged.update((int(number), None) for number in chunk_nos)

    async def commit(self) -> None:
        """Writes what is staged, during a rebuild into both indexes; with nothing staged, sees to it that the index is
        still there and still ours."""
        if self._staged:
            await self._write(self._building)
            await self._write(self._serving)
            await self._show()
            self._staged = {}
        elif self._serving is not None:
            await self._indexes.check(self._serving, self._mine[self._serving])

    async def begin_rebuild(self) -> None:
        """Goes on with an index that was left unfinished if there is one; a broken one is removed in the end."""
        for each in self._known:
            if not each.searched and each.name in self._mine and await self._indexes.whole(each.name):
                await self._indexes.drain(each.name)
                self._building = each.name
                return
        self._building, writer = await self._indexes.create(self._epoch)
        self._mine[self._building] = writer

    async def build(self) -> None:
        """Waits for no refresh: nobody looks."""
        await self._write(self._building)
        self._staged = {}

    async def end_rebuild(self) -> None:
        """Swaps the alias of searches and removes all other indexes."""
        assert self._building is not None
        there = await self._indexes.survey()
        before = {each.name for each in self._known}
        lost = [each for each in there if each.name in self._mine and each.writer != self._mine[each.name]]
        strange = [each for each in there if each.searched and each.name not in before]
        if lost or strange:
            raise errors.Unavailable(_NOT_THERE)
        others = [each.name for each in there if each.name != self._building]
        await self._indexes.publish(self._building, self._mine[self._building], others)
        self._serving, self._building = self._building, None
        self._known = [replace(each, searched=True) for each in there if each.name == self._serving]

    async def _show(self) -> None:
        """Has searches see what was written."""
        if self._serving is not None:
            try:
                await self._indexes.refresh(self._serving)
            except Refused as refused:
                raise errors.Unavailable(_NOT_THERE if refused.status == 404 else _MISSING) from refused

    async def _write(self, index: str | None) -> None:
        """Sends what is staged to one index; a second try repeats all of it, with a higher version."""
        if index is None:
            return
        self._commits += 1
        version = (self._epoch << EPOCH_BITS) + self._commits
        turn = asyncio.Semaphore(BULKS)

        async def send(body: bytes, size: int) -> None:
            parameters = {"require_alias": "true", "filter_path": _ITEMS, "timeout": f"{SHARD_SECONDS}s"}
            async with turn:
                path = f"/{self._mine[index]}/_bulk"
                answer = await self._client.call("POST", path, body, parameters, seconds=BULK_SECONDS)
            _check(answer.get("items", ()), size)

        bodies = list(self._bodies(version))
        for end in await asyncio.gather(*(send(*each) for each in bodies), return_exceptions=True):
            if end is not None:
                raise end

    def _bodies(self, version: int) -> Iterator[tuple[bytes, int]]:
        """The staged changes as requests of bounded size, and the number of changes in each."""
        lines: list[bytes] = []
        size = count = 0
        for number, entry in self._staged.items():
            action = "delete" if entry is None else "index"
            head = {action: {"_id": str(number), "version": version, "version_type": "external_gte"}}
            added = [json.dumps(head).encode()] + ([] if entry is None else [layout.written(entry, self._content.dim)])
            lines += added
            size += sum(map(len, added))
            count += 1
            if size >= BULK_BYTES:
                yield b"\n".join([*lines, b""]), count
                lines, size, count = [], 0, 0
        if lines:
            yield b"\n".join([*lines, b""]), count


_ITEMS = "items.*._id,items.*.status,items.*.error.type"


def _check(items: Sequence[Mapping[str, Mapping[str, Any]]], expected: int) -> None:
    """Raises if any change was not made. A defect is named before what only needs patience."""
    failed = []
    for item in items:
        [(action, told)] = item.items()
        gone = action == "delete" and told["status"] == 404 and "error" not in told
        if told["status"] not in _DONE and not gone:
            failed.append((told["status"], told.get("error", {}).get("type", "unknown"), told["_id"]))
    if len(items) != expected:
        raise errors.Unavailable(f"OpenSearch answered for {len(items)} of {expected} changes.")
    errors_found = sorted((_meaning(*each) for each in failed), key=lambda error: _ORDER.index(type(error)))
    if errors_found:
        raise errors_found[0]


def _meaning(status: int, kind: str, number: str) -> errors.DataDistillerError:
    if status in (404, 409):  # the writer's alias is gone, or a later version is there
        return errors.Unavailable(_NOT_THERE)
    if kind == "cluster_block_exception":
        sentence = "OpenSearch has blocked writing to the search index, perhaps because its disk is full."
        return errors.CapacityError(sentence, retry_after=5.0, hint="Free disk; OpenSearch unblocks it by itself.")
    if status == 429:
        return errors.CapacityError("OpenSearch has more to do than it can take.", retry_after=1.0)
    if kind == "unavailable_shards_exception":
        return errors.Unavailable(_MISSING)
    if status >= 500:
        return errors.Unavailable(f"OpenSearch could not write chunk {number}: {status} {kind}.")
    return errors.BrokenInvariant(f"OpenSearch refused chunk {number}: {status} {kind}.")


_ORDER: list[type[errors.DataDistillerError]] = [errors.BrokenInvariant, errors.Unavailable, errors.CapacityError]
