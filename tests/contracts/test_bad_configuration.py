"""What can never work is refused at the start, by real servers, in a sentence that names the setting and no secret.

What cannot be had here, and the schemes, are in the tests of wiring and of the adapters.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from datadistiller import errors, pipeline
from datadistiller.cli import serve
from datadistiller.embedding import artifact, conversion
from datadistiller.objects.s3 import S3Objects
from datadistiller.objects.signature import Credentials
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from datadistiller.settings import Settings
from datadistiller.store import clock
from datadistiller.store.database import Database
from datadistiller.store.models import Models
from tests import services
from tests.contracts import bert_kit
from tests.contracts.objects_kit import bucket_at
from tests.contracts.store_kit import Kit
from tests.contracts.test_queueing_publisher import SECRET, secured, self_signed
from tools.services import minio
from tools.services.postgres import PASSWORD, PostgresServer

#: Lets everybody in, and do nothing; but the broker itself, which has no name here.
RESTRICTED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
KEY = "hunter2-reader"
#: May read, and make nothing.
READER = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["*"]}]}'


async def refusal(settings: Settings, role: str) -> errors.SetupError:
    with pytest.raises(errors.SetupError) as refused:
        await serve.run(settings, [role])
    assert "\n" not in refused.value.message
    return refused.value


async def test_a_database_that_lets_nobody_in(tmp_path: Path) -> None:
    async with services.own(PostgresServer) as server:
        for change, says in {
            (f":{PASSWORD}@", ":hunter2@"): "refuses the user or the password",
            ("//datadistiller:", "//nobody:"): "refuses the user or the password",
            ("/datadistiller", "/elsewhere"): "has no database of this name",
        }.items():
            url = change[1].join(server.url.rsplit(change[0], 1))
            error = await refusal(Settings(data_dir=tmp_path, database_url=url), "reaper")
            assert says in error.message and "DATADISTILLER_DATABASE_URL" in error.hint
            assert "hunter2" not in error.message + error.hint


async def test_a_schema_from_the_future(tmp_path: Path, database_url: str, kit: Kit) -> None:
    await kit.run("INSERT INTO schema_migrations (version, name) VALUES (9000, 'later')")
    error = await refusal(Settings(data_dir=tmp_path, database_url=database_url), "reaper")
    assert "schema version 9000" in error.message and "newer version" in error.hint


@pytest.mark.parametrize("role", ["ingest", "embed", "api"])
async def test_vectors_of_another_model(role: str, tmp_path: Path, database_url: str, kit: Kit) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database_url, port=0)
    error = await refusal(settings, role)
    assert "embedding model test-model" in error.message and "ingest the documents again" in error.hint


@pytest.mark.parametrize("role", ["ingest", "embed", "api"])
async def test_a_converted_model_beside_vectors_of_the_bundled_one(
    role: str, tmp_path: Path, database_url: str, database: Database
) -> None:
    card = artifact.read()
    await Models(database).activate(card.fingerprint, card.dim)
    bert_kit.publish(tmp_path / "other", bert_kit.Sizes(1, 64, 2, 64))
    conversion.convert(tmp_path / "other", tmp_path / "made", "other")
    settings = Settings(data_dir=tmp_path, database_url=database_url, port=0, embedding_model=str(tmp_path / "made"))
    error = await refusal(settings, role)
    assert card.fingerprint in error.message and "other-int8:mean:64" in error.message
    assert "DATADISTILLER_EMBEDDING_MODEL" in error.hint and "ingest the documents again" in error.hint
    error = await refusal(settings.model_copy(update={"embedding_model": str(tmp_path / "other")}), role)
    assert "has not been converted" in error.message and "models convert" in error.hint


@pytest.mark.parametrize(("minutes", "says"), [(5, "5 minutes ahead of"), (-7, "7 minutes behind")])
async def test_a_clock_that_is_minutes_off(minutes: int, says: str, database: Database) -> None:
    with pytest.raises(errors.SetupError, match=f"{says} that of PostgreSQL") as refused:
        await clock.check(database, lambda: time.time() + 60 * minutes)
    assert "NTP" in refused.value.hint
    await clock.check(database, lambda: time.time() + 60)
    await clock.check(database)


async def test_a_bucket_that_may_not_be_made(minio: minio.MinioServer, tmp_path: Path) -> None:
    name = f"reader-{uuid.uuid4().hex[:8]}"
    (tmp_path / "policy.json").write_text(READER)
    with services.or_skip():
        administer(minio, tmp_path, "user", "add", "store", name, KEY)
    administer(minio, tmp_path, "policy", "create", "store", name, "policy.json")
    administer(minio, tmp_path, "policy", "attach", "store", name, "--user", name)
    bucket = bucket_at(minio.url, credentials=Credentials(name, KEY))
    store = S3Objects(bucket)
    with pytest.raises(errors.SetupError) as refused:
        await store.prepare()
    assert bucket.name in refused.value.message and KEY not in refused.value.message + refused.value.hint
    assert "DATADISTILLER_S3_ACCESS_KEY" in refused.value.hint
    await store.close()


def administer(server: minio.MinioServer, folder: Path, *words: str) -> None:
    host = server.url.replace("//", f"//{minio.USER}:{minio.PASSWORD}@")
    given = {**os.environ, "MC_HOST_store": host, "MC_CONFIG_DIR": str(folder / "mc")}
    subprocess.run([minio.client(), "admin", *words], cwd=folder, env=given, check=True, capture_output=True)


async def test_topics_that_may_not_be_made(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    async with services.own(lambda folder: secured(folder, certificate, RESTRICTED)) as broker:
        access = Access(
            broker.url, "sasl_ssl", "PLAIN", username="dd", password=SECRET, ca_file=str(tmp_path / "cert.pem")
        )
        publisher = KafkaPublisher(access)
        with pytest.raises(errors.SetupError, match="does not let the user 'dd' do this") as refused:
            await publisher.prepare(pipeline.topics())
        assert "administrator create the topics" in refused.value.hint
        assert SECRET not in refused.value.message + refused.value.hint
        await publisher.close()
