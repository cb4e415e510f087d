"""API keys in PostgreSQL."""

from __future__ import annotations

import pytest

from datadistiller import errors
from datadistiller.store.api_keys import ApiKeys, digest
from tests.contracts.store_kit import Kit


@pytest.fixture
def keys(kit: Kit) -> ApiKeys:
    return ApiKeys(kit.db)


async def test_a_key_is_good_until_it_is_revoked(keys: ApiKeys) -> None:
    assert not await keys.any()
    made, key = await keys.create("laptop")
    other, _ = await keys.create("laptop")
    assert await keys.any()
    assert await keys.use(digest(key)) == made.key_id
    assert await keys.use(digest(key[:-1])) is None
    await keys.revoke(made.key_id)
    await keys.revoke(made.key_id)
    assert await keys.use(digest(key)) is None
    assert await keys.any()
    await keys.revoke(other.key_id)
    assert not await keys.any()
    with pytest.raises(errors.KeyNotFound):
        await keys.revoke(999)


async def test_the_list_tells_keys_apart(keys: ApiKeys) -> None:
    first, key = await keys.create("first")
    second, _ = await keys.create("second")
    await keys.use(digest(key))
    await keys.revoke(second.key_id)
    newest, oldest = await keys.list()
    assert (newest.name, oldest.name) == ("second", "first")
    assert newest.revoked_at is not None and newest.last_used_at is None
    assert oldest.revoked_at is None and oldest.last_used_at is not None
    assert key.startswith(first.prefix) and first.prefix.startswith("dd_") and len(first.prefix) < 12


async def test_the_key_itself_is_nowhere_in_the_database(keys: ApiKeys, kit: Kit) -> None:
    _, key = await keys.create("laptop")
    _, other = await keys.create("laptop")
    assert key != other and len(key) > 43
    [row, _] = await kit.rows("SELECT k::text AS everything FROM api_keys k ORDER BY key_id")
    assert key not in row["everything"] and key[10:] not in row["everything"]
    assert digest(key).hex() in row["everything"]


async def test_use_is_noted_once_a_minute(keys: ApiKeys, kit: Kit) -> None:
    made, key = await keys.create("laptop")
    versions = []
    for seconds in (0, 0, 50, 70):
        await kit.run("UPDATE api_keys SET last_used_at = last_used_at - make_interval(secs => %s)", seconds)
        before = await kit.rows("SELECT xmin::text, last_used_at FROM api_keys")
        assert await keys.use(digest(key)) == made.key_id
        versions.append(before != await kit.rows("SELECT xmin::text, last_used_at FROM api_keys"))
    assert versions == [True, False, False, True]


async def test_a_name_that_cannot_be_stored_is_refused(keys: ApiKeys) -> None:
    for name in ("a\0b", "\ud800"):
        with pytest.raises(errors.InvalidRequest):
            await keys.create(name)
