"""The follower of the search index: inside the API, or as the role ``index``."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from datadistiller import errors, indexing
from datadistiller.store.changes import Changes
from datadistiller.store.followers import Followers
from datadistiller.store.models import Models
from datadistiller.wiring.adapters import model_in_use, open_index
from datadistiller.wiring.core import Core

if TYPE_CHECKING:
    from datadistiller.runtime.follower import Follower


def make_follower(core: Core, index: indexing.IndexWriter, model_id: int) -> Follower:
    """The follower of this database for this index."""
    from datadistiller.runtime.follower import Follower

    return Follower(
        Changes(core.database), index, core.signals, core.notifier, model_id, commit_ms=core.settings.index_commit_ms
    )


async def index_loops(core: Core, stack: AsyncExitStack, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
    """What the role ``index`` runs. Raises ``errors.SetupError`` if the index is inside the API."""
    from datadistiller.runtime.index_status import Reporter

    if core.settings.index_inside:
        raise errors.SetupError(
            "The role 'index' has nothing to do: the search index 'local:' is inside the API, which follows by itself.",
            hint="Leave the role out, or set DATADISTILLER_INDEX_URL to opensearch://host:9200 for all processes.",
        )
    fingerprint, dim = model_in_use(core.settings)
    model_id = await Models(core.database).activate(fingerprint, dim)
    followers = Followers(core.database)
    owner = str(await followers.database_id())
    index = await stack.enter_async_context(open_index(core.settings, fingerprint, dim, owner))
    follower = make_follower(core, index, model_id)
    patience = core.settings.worker_timeout_seconds
    reporter = Reporter(follower, followers, core.identity.worker_id, patience)
    return [follower.run(stop), reporter.run(stop)]
