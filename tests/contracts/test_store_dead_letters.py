"""Dead letters as an operator meets them: listed, shown, replayed, discarded."""

from __future__ import annotations

import pytest

from datadistiller import errors, model
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, Failed
from tests.contracts.store_kit import Kit


async def test_dead_letters_are_listed_shown_replayed_and_discarded(kit: Kit) -> None:
    jobs = []
    for _ in range(3):
        jobs.append((await kit.accept()).job.job_id)
        (delivery,) = await kit.claim(INGEST_TOPIC)
        await kit.settle(Failed(delivery, errors.DamagedDocument()))
    letters = await kit.letters.list()
    assert [letter.job_id for letter in letters] == jobs[::-1]
    assert await kit.letters.list(limit=1, after=letters[0].dead_id) == [letters[1]]
    assert await kit.letters.get(letters[2].dead_id) == letters[2]
    job = await kit.letters.replay(letters[2].dead_id)
    assert (job.job_id, job.attempt, job.status) == (jobs[0], 2, model.Status.PENDING)
    for call in (kit.letters.get, kit.letters.replay, kit.letters.discard):
        with pytest.raises(errors.DeadLetterNotFound, match="no dead letter"):
            await call(letters[2].dead_id)
    await kit.letters.discard(letters[1].dead_id)
    assert (await kit.jobs.get(jobs[1])).status == model.Status.FAILED
    assert [letter.job_id for letter in await kit.letters.list()] == [jobs[2]]


async def test_a_letter_of_a_running_job_cannot_be_replayed_yet(kit: Kit) -> None:
    await kit.ingest((await kit.accept()).job.job_id, ["a", "b"])
    (first, _) = await kit.claim(CHUNK_TOPIC)
    await kit.settle(Failed(first, errors.BrokenInvariant("x")))
    (letter,) = await kit.letters.list()
    with pytest.raises(errors.Conflict):
        await kit.letters.replay(letter.dead_id)
