"""The client of OpenSearch: which URLs it takes, which hosts it asks, whom it trusts."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.indexing.opensearch_client import Access, Client
from tools.services.opensearch import OpenSearchServer


@pytest.mark.parametrize(
    ("url", "hosts", "prefix"),
    [
        ("opensearch://search", ["http://search:9200"], "datadistiller"),
        ("opensearch+https://a:9201,b", ["https://a:9201", "https://b:9200"], "datadistiller"),
        ("opensearch://[::1]:9200/team-a", ["http://[::1]:9200"], "team-a"),
    ],
)
def test_a_url_names_hosts_and_a_prefix(url: str, hosts: list[str], prefix: str) -> None:
    access = Access.parse(url, "me", "hunter2")
    assert (access.hosts, access.prefix) == (hosts, prefix)
    assert "hunter2" not in repr(access)


@pytest.mark.parametrize(
    "url",
    ["opensearch://", "opensearch://a:b", "opensearch://a,", "opensearch://a/B", "opensearch://a/b*", "opensearch:a",
     "opensearch://me:hunter2@a"],
)  # fmt: skip
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(errors.SetupError) as refused:
        Access.parse(url)
    assert "DATADISTILLER_" in refused.value.hint and "hunter2" not in refused.value.message


async def test_a_host_that_is_gone_is_passed_over(opensearch: OpenSearchServer) -> None:
    client = Client(Access(["http://127.0.0.1:9", opensearch.url]))
    for _ in range(4):
        assert (await client.call("GET", "/"))["version"]["number"]
    await client.close()


async def test_a_server_that_will_not_do_is_refused_at_the_start(opensearch: OpenSearchServer) -> None:
    """What no real server here does: a password, an old version. A cluster that is only down is waited for."""
    for told, sentence in (
        (b'401 X\r\n|{"error": 1}', "password"),
        (b'200 X\r\n|{"version": {"number": "1.3.2"}}', "1.3.2"),
    ):
        async with answering(told) as url:
            client = Client(Access([url], user="me", password="hunter2"))
            with pytest.raises(errors.SetupError, match=sentence) as refused:
                await client.check()
            assert "hunter2" not in refused.value.message + refused.value.hint
            await client.close()
    for url in ("http://127.0.0.1:9", opensearch.url):
        client = Client(Access([url]))
        await client.check()
        await client.close()


@asynccontextmanager
async def answering(told: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that answers every request the same: a status line and a body."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head, body = told.split(b"|")
        writer.write(b"HTTP/1.1 " + head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        scheme = "https" if context else "http"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_certificates_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(errors.SetupError, match="cannot be read"):
            Client(Access(["https://a:9200"], ca_file=tmp_path / name))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that nobody has signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


async def test_a_certificate_must_be_trusted(certificate: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with answering(b'200 X\r\n|{"version": {"number": "2.19.1"}}', context) as url:
        strange, known = Client(Access([url])), Client(Access([url], ca_file=certificate[0]))
        with pytest.raises(errors.SetupError, match="not trusted") as refused:
            await strange.check()
        assert "DATADISTILLER_OPENSEARCH_CA_FILE" in refused.value.hint
        await known.check()
        assert (await known.call("GET", "/"))["version"]["number"] == "2.19.1"
        await strange.close()
        await known.close()
