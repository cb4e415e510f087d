"""The indexes of one model in OpenSearch: which there are, who may write them, which one searches use.

One writer, whatever is delayed or thought dead: a leader writes through an alias of its own, and a new leader takes
that away from the one before, in one step of the cluster's state. What was accepted before that is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datadistiller import errors
from datadistiller.indexing import opensearch_layout as layout
from datadistiller.indexing.opensearch_client import Client, Refused
from datadistiller.indexing.opensearch_layout import Content, Names, Shape

#: For what the cluster's nodes must agree on, and for writes under way to end, seconds.
AGREE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Found:
    """An index that is there. ``writer`` is its writer's alias, None if it is of no use: it is not laid out as ours."""

    name: str
    searched: bool  # the alias of searches is on it
    writer: str | None
    epoch: int
    owner: str  # the id of the database it was made for; empty if it is not laid out as ours


class Indexes:
    """What is there for one model. Raises ``errors.Unavailable`` if the cluster does not act, or another was faster."""

    def __init__(self, client: Client, names: Names, content: Content, shape: Shape) -> None:
        self._client = client
        self._names = names
        self._content = content
        self._shape = shape

    async def survey(self) -> list[Found]:
        """All of them, whatever state they are in, and whatever else has such a name."""
        pattern = f"/{self._names.alias}*"
        every = {"expand_wildcards": "all"}
        aliases = await self._client.call("GET", f"{pattern}/_alias", parameters=every)
        every["filter_path"] = "*.mappings._meta"
        mappings = await self._client.call("GET", f"{pattern}/_mapping", parameters=every)
        metas = {name: found["mappings"]["_meta"] for name, found in mappings.items()}
        return [self._found(name, list(given["aliases"]), metas.get(name, {})) for name, given in aliases.items()]

    def _found(self, name: str, aliases: Sequence[str], meta: Mapping[str, Any]) -> Found:
        epochs = {alias: epoch for alias in aliases if (epoch := Names.epoch(name, alias)) is not None}
        usable = meta == self._content.meta and len(epochs) == 1
        writer = next(iter(epochs)) if usable else None
        owner = str(meta.get("owner", ""))
        return Found(name, self._names.alias in aliases, writer, max(epochs.values(), default=0), owner)

    async def take(self, found: Sequence[Found], epoch: int) -> dict[str, str]:
        """Makes this the one writer of these indexes; returns its aliases by index."""
        mine = {each.name: Names.writer(each.name, epoch) for each in found if each.writer}
        actions = [
            action
            for each in found
            if each.writer
            for action in (
                {"remove": {"index": each.name, "alias": each.writer, "must_exist": True}},
                {"add": {"index": each.name, "alias": mine[each.name]}},
            )
        ]
        if actions:
            await self._agreed("POST", "/_aliases", {"actions": actions})
        return mine

    async def drain(self, index: str) -> None:
        """Returns when no write is under way any more, and searches see all that were.

        A write block is in force on every shard only once the writes before it have ended (OpenSearch, "Blocks"). One
        that is there already, of a leader that died in between, would be answered at once.
        """
        unblocked = {"index.blocks.write": None}
        await self._agreed("PUT", f"/{index}/_settings", unblocked)
        await self._agreed("PUT", f"/{index}/_block/write")
        await self._agreed("PUT", f"/{index}/_settings", unblocked)
        await self.refresh(index)

    async def whole(self, index: str) -> bool:
        """True if every shard of it is there."""
        health = await self._client.call("GET", f"/_cluster/health/{index}")
        return bool(health["status"] != "red")

    async def create(self, epoch: int) -> tuple[str, str]:
        """A new, empty index that only its writer uses; returns its name and the writer's alias."""
        index = self._names.build()
        writer = Names.writer(index, epoch)
        try:
            await self._agreed("PUT", f"/{index}", layout.body(self._content, self._shape, writer))
        except Refused as refused:
            raise errors.SetupError(
                f"OpenSearch refuses to make the search index: {refused.status} {refused.kind}.",
                hint="It needs the k-NN plugin, document replication, and the right to make indexes of this name.",
            ) from refused
        return index, writer

    async def refresh(self, index: str) -> None:
        """Makes everything written visible."""
        answer = await self._client.call("POST", f"/{index}/_refresh", seconds=AGREE_SECONDS)
        if answer["_shards"]["failed"]:
            raise errors.Unavailable("A part of the search index could not be refreshed.")

    async def publish(self, index: str, writer: str, replaced: Sequence[str]) -> None:
        """Has searches use this index, and removes the others, in one step. Nothing happens if it has another writer
        by now, or if searches use an index that is not among the others."""
        await self.refresh(index)
        actions: list[dict[str, Any]] = [
            {"remove": {"index": index, "alias": writer, "must_exist": True}},
            {"add": {"index": index, "alias": writer}},
            # An alias has one write index at most: nobody writes through this one, it makes a second index an error.
            {"add": {"index": index, "alias": self._names.alias, "is_write_index": True}},
            *({"remove_index": {"index": name}} for name in replaced),
        ]
        await self._agreed("POST", "/_aliases", {"actions": actions})

    async def check(self, index: str, writer: str) -> None:
        """Raises ``errors.Unavailable`` if the index is gone, or is not the one of searches and of this writer."""
        aliases = await self._client.call("GET", f"/{index}/_alias")
        if not {self._names.alias, writer} <= aliases[index]["aliases"].keys():
            raise errors.Unavailable("The search index was taken over by another process.")

    async def _agreed(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """A change that every node and shard has taken in when this returns."""
        limit = {"timeout": f"{AGREE_SECONDS - 5}s"}
        answer = await self._client.call(method, path, body, limit, seconds=AGREE_SECONDS)
        if not (answer.get("acknowledged") and answer.get("shards_acknowledged", True)):
            raise errors.Unavailable("OpenSearch could not change the search index in time.")
