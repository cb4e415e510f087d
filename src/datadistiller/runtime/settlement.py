"""The last step of all work: outcomes become fates, in one transaction, and then others are told."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable, Sequence

import structlog

from datadistiller import errors, pipeline
from datadistiller.messages import Delivery, Done, Failed, Outcome
from datadistiller.runtime import telemetry
from datadistiller.store import signals
from datadistiller.store.messages import Limits, Messages, Settled

FIRST_PAUSE = 0.05  # seconds between two tries to reach the database, doubled up to
LONGEST_PAUSE = 1.0


class Settlement:
    """Settles the outcomes of one stage.

    ``alive`` is False from the moment at which the leases of this process may have gone to others: nothing is
    settled after it.
    """

    def __init__(
        self,
        spec: pipeline.StageSpec,
        limits: Limits,
        model_id: int | None,
        messages: Messages,
        notifier: signals.Notifier,
        metrics: telemetry.Metrics,
        alive: Callable[[], bool],
    ) -> None:
        self._spec = spec
        self._limits = limits
        self._model_id = model_id
        self._messages = messages
        self._notifier = notifier
        self._metrics = metrics
        self._alive = alive

    async def settle(self, outcomes: Sequence[Outcome]) -> list[Delivery]:
        """Gives each outcome its fate. Returns those without: they keep their leases and come back when those end."""
        lost = [o.delivery for o in outcomes if _is_lost(o)]
        mine = [o for o in outcomes if not _is_lost(o)]
        self._count("lost", len(lost))
        if not mine:
            return lost
        try:
            settled = await self._persist(mine)
        except errors.LeaseLost:
            self._count("lost", len(mine))
            return [o.delivery for o in outcomes]
        except Exception as error:
            return lost + await self._settle_apart(mine, error)
        self._report(mine, frozenset(settled.refused))
        await self._announce(settled)
        return lost

    async def _persist(self, outcomes: Sequence[Outcome]) -> Settled:
        """Tries until the database answers. Repeating it is safe: what is settled already is refused."""
        pause = FIRST_PAUSE
        while self._alive():
            try:
                return await self._messages.settle(self._limits, outcomes, self._model_id)
            except errors.Unavailable as error:
                structlog.get_logger().warning("settle_failed", reason=error.message, retry_in_seconds=pause)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(LONGEST_PAUSE, pause * 2)
        raise errors.LeaseLost

    async def _settle_apart(self, outcomes: Sequence[Outcome], error: Exception) -> list[Delivery]:
        """Something in these results cannot be written: finds out which, and fails only that."""
        structlog.get_logger().error("settle_refused", stage=self._spec.name, messages=len(outcomes), exc_info=error)
        if len(outcomes) > 1:
            return [delivery for outcome in outcomes for delivery in await self.settle([outcome])]
        [outcome] = outcomes
        if isinstance(outcome, Done):
            return await self.settle([Failed(outcome.delivery, as_failure(error, self._spec.name))])
        return [outcome.delivery]

    async def _announce(self, settled: Settled) -> None:
        changes = [(signals.CHANGES, "")] if settled.changed else []
        work = [(signals.WORK, topic) for topic in settled.next_topics]
        await self._notifier.notify_all([*work, *((signals.JOBS, str(job)) for job in settled.jobs), *changes])

    def _report(self, outcomes: Sequence[Outcome], refused: frozenset[int]) -> None:
        for outcome in outcomes:
            if outcome.delivery.message_id in refused:
                self._count("refused", 1)
            elif isinstance(outcome, Done):
                self._count("done", 1)
            else:
                self._count(_kind(outcome.error), 1)
                self._log(outcome)

    def _log(self, failed: Failed) -> None:
        structlog.get_logger().warning(
            "message_failed",
            stage=self._spec.name,
            job_id=str(failed.delivery.job_id),
            message_id=failed.delivery.message_id,
            tries=failed.delivery.tries + 1,
            kind=_kind(failed.error),
            code=failed.error.code,
            exc_info=failed.error.__cause__ or failed.error,
        )

    def _count(self, outcome: str, number: int) -> None:
        if number:
            self._metrics.attempts.labels(self._spec.name, outcome).inc(number)


def _is_lost(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and isinstance(outcome.error, errors.LeaseLost)


def as_failure(error: Exception, stage: str) -> errors.DataDistillerError:
    """What anything a stage raised means for its messages.

    A service that is down and a full disk are a lack of capacity: nobody's fault, so nothing is charged. An
    exception nobody foresaw may pass; its message is left out, as it may quote the document.
    """
    if isinstance(error, (errors.Unavailable, errors.Overloaded)):
        failure: errors.DataDistillerError = errors.CapacityError(
            error.message, retry_after=error.retry_after, hint=error.hint
        )
    elif isinstance(error, errors.DataDistillerError):
        return error
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        failure = errors.CapacityError("The disk is full.", retry_after=30, hint="Free some space on the disk.")
    else:
        failure = errors.TransientError(f"An unexpected {type(error).__name__} in the {stage} stage.")
    failure.__cause__ = error
    return failure


def _kind(error: errors.DataDistillerError) -> str:
    if isinstance(error, errors.PermanentError):
        return "permanent"
    return "capacity" if isinstance(error, errors.CapacityError) else "transient"
