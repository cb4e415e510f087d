"""The password of a file: there for the attempt that needs it, in no table when that has ended, however it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from datadistiller import errors
from datadistiller.messages import INGEST_TOPIC, REMOVE_TOPIC, Delivery, Done, Failed, Removed
from tests.contracts.store_kit import Kit, new_job, reading

PASSWORD = "hunter2-of-the-file"

#: Brings an attempt to its end.
End = Callable[[Kit, UUID], Awaitable[None]]


async def tables_with_it(kit: Kit) -> list[str]:
    """All tables that hold the password anywhere, as a dump would show them."""
    tables = await kit.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    names = [row["tablename"] for row in tables]
    held = [
        name for name in names if await kit.rows(f'SELECT 1 FROM "{name}" t WHERE t::text LIKE %s', f"%{PASSWORD}%")
    ]
    assert "document_passwords" in names
    return held


async def claimed(kit: Kit) -> Delivery:
    (delivery,) = await kit.claim(INGEST_TOPIC, 1)
    return delivery


async def read(kit: Kit, job_id: UUID) -> None:
    await kit.ingest(job_id, ["text"])


async def die(kit: Kit, job_id: UUID) -> None:
    await kit.settle(Failed(await claimed(kit), errors.EncryptedDocument()))


async def cancel(kit: Kit, job_id: UUID) -> None:
    await kit.jobs.cancel(job_id)


async def delete(kit: Kit, job_id: UUID) -> None:
    await kit.jobs.delete(job_id)


async def retry_without(kit: Kit, job_id: UUID) -> None:
    await kit.jobs.cancel(job_id)
    await kit.jobs.retry(job_id, PASSWORD)
    await kit.jobs.cancel(job_id)
    await kit.jobs.retry(job_id)


@pytest.mark.parametrize("end", [read, die, cancel, delete, retry_without])
async def test_it_goes_with_the_attempt(kit: Kit, end: End) -> None:
    accepted = await kit.accept(password=PASSWORD)
    assert await tables_with_it(kit) == ["document_passwords"]
    await end(kit, accepted.job.job_id)
    assert await tables_with_it(kit) == []


async def test_a_try_that_is_made_again_has_it_and_nobody_else_has(kit: Kit) -> None:
    await kit.accept(password=PASSWORD)
    first = await claimed(kit)
    assert await kit.jobs.password(first) == PASSWORD
    await kit.settle(Failed(first, errors.Unavailable("Away.", retry_after=0.1)))
    assert await kit.jobs.password(first) is None
    await kit.run("UPDATE messages SET available_at = now()")
    second = await claimed(kit)
    assert await kit.jobs.password(second) == PASSWORD
    await kit.settle(Done(second, reading(second.job_id, ["text"])))
    assert await kit.jobs.password(second) is None


async def test_the_same_bytes_with_another_password_start_a_failed_document_again(kit: Kit) -> None:
    first = await kit.accept("same", password="wrong")
    await die(kit, first.job.job_id)
    again = await kit.accept("same", password=PASSWORD)
    assert (again.duplicate, again.job.attempt) == (True, 2)
    assert await kit.jobs.password(await claimed(kit)) == PASSWORD


async def test_the_same_bytes_on_their_way_keep_the_first_password(kit: Kit) -> None:
    await kit.accept("same", password=PASSWORD)
    again = await kit.accept("same", password="another")
    assert (again.duplicate, again.job.attempt) == (True, 1)
    assert await kit.jobs.password(await claimed(kit)) == PASSWORD


async def test_a_password_that_comes_while_the_file_waits_is_used(kit: Kit) -> None:
    first = await kit.accept("same")
    again = await kit.accept("same", password=PASSWORD)
    assert (again.duplicate, again.job.attempt) == (True, 1)
    assert await kit.jobs.password(await claimed(kit)) == PASSWORD
    await kit.jobs.cancel(first.job.job_id)
    assert await tables_with_it(kit) == []


async def test_a_password_for_what_is_read_already_is_not_kept(kit: Kit) -> None:
    first = await kit.accept("same")
    await read(kit, first.job.job_id)
    await kit.accept("same", password=PASSWORD)
    assert await tables_with_it(kit) == []


async def test_none_is_none(kit: Kit) -> None:
    await kit.accept()
    assert await kit.jobs.password(await claimed(kit)) is None


async def test_a_removal_leaves_the_password_of_another_alone(kit: Kit) -> None:
    gone = await kit.accept(password="another")
    await kit.accept(password=PASSWORD)
    await kit.jobs.delete(gone.job.job_id)
    (removal,) = await kit.claim(REMOVE_TOPIC, 1)
    await kit.settle(Done(removal, Removed()))
    assert await tables_with_it(kit) == ["document_passwords"]


def test_it_is_not_shown_by_what_carries_it() -> None:
    assert PASSWORD not in repr(new_job(password=PASSWORD, job_id=uuid4()))
