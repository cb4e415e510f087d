"""Purges what a deleted document left in the object store; settling its message purges the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datadistiller import errors, objects
from datadistiller.messages import Delivery, Done, Failed, Outcome, Removed


@dataclass(frozen=True, slots=True)
class Remove:
    """Removes the objects of deleted documents. Safe to repeat: removing what is gone succeeds."""

    store: objects.ObjectStore

    async def __call__(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """One outcome per delivery."""
        return [await self._remove(delivery) for delivery in batch]

    async def _remove(self, delivery: Delivery) -> Outcome:
        try:
            await self.store.delete_prefix(objects.job_prefix(delivery.job_id))
        except errors.DataDistillerError as error:
            return Failed(delivery, error)
        return Done(delivery, Removed())
