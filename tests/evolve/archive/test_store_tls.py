"""The store over TLS, as a cluster may have it: a certificate that is not trusted is refused, a trusted one serves."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.archive import redis as store_module
from evolve.archive.core import StoreUnavailableError
from evolve.archive.redis import RedisStore
from evolve.archive.server import ensure_server, stop_server


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(words, check=True, capture_output=True)
    return key, certificate


@pytest.fixture
def port(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[int]:
    """TLS in front of a real server: the embedded one's binary speaks none itself."""
    socket = ensure_server(tmp_path / "data").removeprefix("unix://")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate[1], certificate[0])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(socket)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer), return_exceptions=True)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    stop_server(tmp_path / "data")


def test_a_trusted_certificate_serves(port: int, certificate: tuple[Path, Path]) -> None:
    store = RedisStore(f"rediss://localhost:{port}?ssl_ca_certs={certificate[1]}", "secure")
    store.save("name", {"number": 1})
    assert store.load("name") == {"number": 1}
    store.close()


def test_an_untrusted_certificate_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RETRIES_OF_THE_SILENT", 1)
    with pytest.raises(StoreUnavailableError, match="certificate verify failed"):
        RedisStore(f"rediss://localhost:{port}", "secure")
