"""Keys: who may call an API that is not on loopback, and who may not, on every node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from datadistiller import errors, wiring
from datadistiller.api import access
from datadistiller.api.app import create_app
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.settings import Settings
from datadistiller.store.api_keys import ApiKeys
from datadistiller.store.database import Database
from tests.acceptance import api_parts

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)
BOOTSTRAP = "bootstrap-0123456789-0123456789-012345"
OPEN_CALLS = {"/livez", "/readyz"}


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    return OnnxEmbedder()


@pytest.fixture
async def parts(database: Database, tmp_path: Path, embedder: OnnxEmbedder) -> AsyncIterator[Any]:
    settings = {"host": "0.0.0.0", "bootstrap_key": BOOTSTRAP}
    async with api_parts.api_parts(database, tmp_path, embedder, **settings) as made:
        yield made


def node(parts: Any) -> httpx.AsyncClient:
    """An API process as its clients see it: each has a memory of its own."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(parts)), base_url="http://datadistiller.example")


@pytest.fixture
async def client(parts: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with node(parts) as made:
        yield made


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def create(client: httpx.AsyncClient, name: str = "test") -> dict[str, Any]:
    answer = await client.post("/api/v2/keys", json={"name": name}, headers=bearer(BOOTSTRAP))
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


# --- who gets in


async def test_every_call_but_the_probes_needs_a_key(client: httpx.AsyncClient, parts: Any) -> None:
    schema = create_app(parts).openapi()
    calls = [(verb, path) for path, verbs in schema["paths"].items() for verb in verbs]
    assert len(calls) > 20
    for verb, path in [*calls, *(("get", path) for path in ("/nothing", "/api/v2/documents/", "/Livez", "/livez/"))]:
        answer = await client.request(verb.upper(), path.replace("{", "").replace("}", ""))
        if path in OPEN_CALLS:
            assert answer.status_code in (200, 503), path
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, "key_required"), (verb, path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"] == 'Bearer realm="datadistiller"'
            assert "DATADISTILLER_API_KEY" in answer.json()["hint"]
            assert answer.headers["x-request-id"]


async def test_the_documentation_is_open(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
        assert (await client.get(path)).status_code == 200
    for path in ("/static-offline-docs/../api/v2/documents", "/static-offline-docs/%2e%2e/api/v2/documents"):
        assert (await client.get(path)).status_code in (401, 404)


async def test_a_key_opens_everything(client: httpx.AsyncClient) -> None:
    made = await create(client)
    for key in (made["key"], BOOTSTRAP):
        for scheme in ("Bearer", "bearer", "BEARER"):
            answer = await client.get("/api/v2/documents", headers={"Authorization": f"{scheme} {key}"})
            assert answer.status_code == 200
    assert (await client.get("/metrics", headers=bearer(made["key"]))).status_code == 200
    files = {"file": ("a.txt", b"text")}
    assert (await client.post("/api/v2/documents/upload", files=files)).status_code == 401
    answer = await client.post("/api/v2/documents/upload", files=files, headers=bearer(made["key"]))
    assert answer.status_code == 202


async def test_a_wrong_key_is_refused_as_such(client: httpx.AsyncClient) -> None:
    for key in ("dd_wrong", f"{BOOTSTRAP}x", BOOTSTRAP[:-1], "x" * 10_000, "a b c"):
        for _ in range(2):  # the second time from memory
            answer = await client.get("/api/v2/documents", headers=bearer(key))
            assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid"), key
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_no_bearer_token_is_no_key(client: httpx.AsyncClient) -> None:
    for given in ("", "Bearer", "Bearer ", "Basic YTpi", f"Token {BOOTSTRAP}", BOOTSTRAP):
        answer = await client.get("/api/v2/documents", headers={"Authorization": given})
        assert (answer.status_code, answer.json()["code"]) == (401, "key_required"), given


async def test_any_bytes_may_stand_in_the_header(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v2/documents", headers={b"Authorization": b"Bearer \xff\xfe\x80"})
    assert answer.status_code == 401


async def test_pages_of_any_site_get_nothing_without_a_key(client: httpx.AsyncClient) -> None:
    headers = {"Host": "attacker.example", "Origin": "https://attacker.example"}
    assert (await client.post("/api/v2/query", json={"question": "?"}, headers=headers)).status_code == 401
    key = (await create(client))["key"]
    assert (await client.get("/api/v2/documents", headers={"Host": "any.example", **bearer(key)})).status_code == 200


async def test_metrics_can_be_opened(parts: Any) -> None:
    parts.settings = parts.settings.model_copy(update={"metrics_public": True})
    async with node(parts) as client:
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/metrics/")).status_code == 401
        assert (await client.get("/health")).status_code == 401


# --- the life of a key


async def test_keys_are_made_listed_and_revoked(client: httpx.AsyncClient) -> None:
    first, second = await create(client, "first"), await create(client, "Zweiter Schlüssel")
    assert set(first) == {"key_id", "name", "prefix", "created_at", "last_used_at", "revoked_at", "key"}
    assert first["key"] != second["key"] and first["key"].startswith(first["prefix"])
    await client.get("/api/v2/documents", headers=bearer(first["key"]))
    gone = await client.delete(f"/api/v2/keys/{second['key_id']}", headers=bearer(first["key"]))
    assert (gone.status_code, gone.content) == (204, b"")
    answer = await client.get("/api/v2/keys", headers=bearer(first["key"]))
    assert first["key"] not in answer.text
    listed = answer.json()["keys"]
    assert [key["name"] for key in listed] == ["Zweiter Schlüssel", "first"]
    assert listed[0]["revoked_at"] and not listed[1]["revoked_at"] and listed[1]["last_used_at"]
    missing = await client.delete("/api/v2/keys/999", headers=bearer(first["key"]))
    assert (missing.status_code, missing.json()["code"]) == (404, "key_not_found")


async def test_a_key_has_a_printable_name(client: httpx.AsyncClient) -> None:
    for name in ("", "x" * 101, "a\nb", "\x1b[31m", None):
        answer = await client.post("/api/v2/keys", json={"name": name}, headers=bearer(BOOTSTRAP))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), name


async def test_a_revoked_key_is_refused_by_every_node_soon(parts: Any) -> None:
    async with node(parts) as one, node(parts) as two:
        made = await create(one)
        for client in (one, two):
            assert (await client.get("/api/v2/documents", headers=bearer(made["key"]))).status_code == 200
        await one.delete(f"/api/v2/keys/{made['key_id']}", headers=bearer(BOOTSTRAP))
        await asyncio.gather(*(refused(client, made["key"]) for client in (one, two)))


async def refused(client: httpx.AsyncClient, key: str) -> None:
    """Returns when the key is good no more."""
    async with asyncio.timeout(60):
        while True:
            if (await client.get("/api/v2/documents", headers=bearer(key))).status_code == 401:
                return
            await asyncio.sleep(0.2)


async def test_a_key_made_on_one_node_is_good_on_all(parts: Any) -> None:
    async with node(parts) as one, node(parts) as two:
        assert (await two.get("/api/v2/documents", headers=bearer((await create(one))["key"]))).status_code == 200


# --- what it costs, and what it does without a database


class Counted:
    """Passes questions on to the real keys, and counts them; ``down`` as a database that does not answer."""

    def __init__(self, keys: ApiKeys) -> None:
        self.asked = 0
        self.down = False
        self._keys = keys

    async def use(self, hashed: bytes) -> int | None:
        self.asked += 1
        if self.down:
            raise errors.Unavailable
        return await self._keys.use(hashed)


async def test_a_key_in_use_does_not_cost_a_question_each_time(database: Database) -> None:
    counted = Counted(ApiKeys(database))
    ring = access.Keyring(counted, "")  # type: ignore[arg-type]
    _, key = await ApiKeys(database).create("test")
    assert len(set(await asyncio.gather(*(ring.id_of(key) for _ in range(200))))) == 1
    assert counted.asked <= 1 + access.LOOKUPS


async def test_a_flood_of_wrong_keys_is_forgotten_and_the_good_one_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "REMEMBERED", 50)  # so that a flood is short
    monkeypatch.setattr(access, "BELIEVED_SECONDS", 3600)
    counted = Counted(ApiKeys(database))
    ring = access.Keyring(counted, "")  # type: ignore[arg-type]
    _, key = await ApiKeys(database).create("test")
    good = await ring.id_of(key)
    for n in range(200):
        with pytest.raises(errors.KeyInvalid):
            await ring.id_of(f"dd_{n}")
    assert len(ring._bad._said) == 50
    before = counted.asked
    assert await ring.id_of(key) == good
    assert counted.asked == before


async def test_without_the_database_nobody_is_told_that_a_key_is_wrong(database: Database, parts: Any) -> None:
    parts.keys = counted = Counted(ApiKeys(database))
    counted.down = True
    async with node(parts) as client:
        answer = await client.get("/api/v2/documents", headers=bearer("dd_" + "x" * 43))
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/openapi.json", headers=bearer(BOOTSTRAP))).status_code == 200


async def test_logs_name_the_key_by_its_number_only(client: httpx.AsyncClient) -> None:
    made = await create(client)
    with structlog.testing.capture_logs() as lines:
        await client.get("/api/v2/documents", headers=bearer(made["key"]))
        await client.get("/api/v2/documents", headers=bearer("dd_wrong-wrong-wrong"))
    requests = [line for line in lines if line["event"] == "request"]  # others may be at work meanwhile
    assert [(line["status"], line.get("key_id")) for line in requests] == [(200, made["key_id"]), (401, None)]
    for secret in (made["key"][10:], "wrong-wrong", BOOTSTRAP):
        assert secret not in str(lines)


# --- the schema


async def test_the_schema_says_where_a_key_is_needed(parts: Any) -> None:
    schema = create_app(parts).openapi()
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, calls in schema["paths"].items():
        for call in calls.values():
            assert ("security" in call, "401" in call["responses"]) == (path not in OPEN_CALLS,) * 2, path
    parts.settings = parts.settings.model_copy(update={"host": "127.0.0.1"})
    schema = create_app(parts).openapi()
    assert not [call for calls in schema["paths"].values() for call in calls.values() if "security" in call]


# --- before it listens


async def test_it_does_not_listen_where_nobody_could_get_in(database: Database) -> None:
    await wiring.check_access(Settings(), database)
    for settings in (Settings(host="0.0.0.0"), Settings(host="192.168.1.1"), Settings(require_key="always")):
        with pytest.raises(errors.SetupError, match="needs an API key") as refused:
            await wiring.check_access(settings, database)
        assert "DATADISTILLER_BOOTSTRAP_KEY_FILE" in refused.value.hint
    await wiring.check_access(Settings(host="0.0.0.0", bootstrap_key=BOOTSTRAP), database)  # type: ignore[arg-type]
    made, _ = await ApiKeys(database).create("test")
    await wiring.check_access(Settings(host="0.0.0.0"), database)
    await ApiKeys(database).revoke(made.key_id)
    with pytest.raises(errors.SetupError):
        await wiring.check_access(Settings(host="0.0.0.0"), database)


async def test_a_weak_bootstrap_key_is_refused_and_not_repeated(database: Database) -> None:
    for weak in ("secret", "x" * 31, "ä" * 40, "two words " * 10):
        with pytest.raises(errors.SetupError) as refused:
            await wiring.check_access(Settings(bootstrap_key=weak), database)  # type: ignore[arg-type]
        assert weak not in refused.value.message + refused.value.hint


async def test_on_loopback_everything_is_as_it_was(database: Database, tmp_path: Path, embedder: OnnxEmbedder) -> None:
    async with api_parts.api_parts(database, tmp_path, embedder) as parts:
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            assert (await client.get("/api/v2/documents")).status_code == 200
            assert (await client.get("/api/v2/documents", headers=bearer("anything"))).status_code == 200
            assert (await client.get("/livez", headers={"Host": "attacker.example"})).status_code == 403
