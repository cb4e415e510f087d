"""Settings that cannot work are refused in one sentence, without what they hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from datadistiller import errors, pipeline, wiring
from datadistiller.cli import serve
from datadistiller.settings import Settings

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("database_url", "embed"),
        ("objects_url", "ingest"),
        ("queue_url", "embed"),
        ("index_url", "api"),
        ("index_url", "index"),
    ],
)
async def test_an_unknown_scheme_names_the_known_ones(name: str, role: str, tmp_path: Path, database_url: str) -> None:
    given = {"data_dir": tmp_path, "database_url": database_url, "port": 0, name: f"carrier-pigeon://me:{SECRET}@host"}
    with pytest.raises(errors.SetupError) as refused:
        await serve.run(Settings(**given), [role])  # type: ignore[arg-type]
    assert "'carrier-pigeon'" in refused.value.message
    assert f"DATADISTILLER_{name.upper()}" in refused.value.hint
    assert SECRET not in refused.value.message + refused.value.hint


async def test_an_index_inside_the_api_has_no_worker(tmp_path: Path, database_url: str) -> None:
    with pytest.raises(errors.SetupError) as refused:
        await serve.run(Settings(data_dir=tmp_path, database_url=database_url), ["index"])
    assert "'index'" in refused.value.message and "opensearch://" in refused.value.hint


async def test_a_relay_without_a_broker_is_refused(tmp_path: Path, database_url: str) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    with pytest.raises(errors.SetupError, match="none is set") as refused:
        await serve.run(settings, ["relay"])
    assert "DATADISTILLER_QUEUE_URL" in refused.value.hint


async def test_told_to_stop_before_the_database_is_there(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(errors.Unavailable):
        await wiring.run_roles(settings, ["reaper"], stop)


def test_the_embedded_database_is_the_one_of_the_data_folder(tmp_path: Path) -> None:
    assert "postgres" in wiring.database_url(Settings(data_dir=tmp_path))
    assert wiring.database_url(Settings(database_url="postgresql://db/x")) == "postgresql://db/x"


def test_roles_are_read_from_the_command_line() -> None:
    assert serve.parse_roles(" embed,ingest ,embed") == ["embed", "ingest"]
    for text in ("", "embed,chef"):
        with pytest.raises(errors.SetupError) as refused:
            serve.parse_roles(text)
        assert all(role in refused.value.hint for role in pipeline.ROLES)


def test_every_stage_has_a_role_that_can_be_served() -> None:
    assert {spec.role for spec in pipeline.PIPELINE} <= set(pipeline.ROLES)
