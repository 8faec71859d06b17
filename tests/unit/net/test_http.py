"""The HTTP client against a server that misbehaves in every way a network can (F31–F35, F43)."""

import asyncio
import gzip
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gatewayz.net.http import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionBroken,
    ConnectTimeout,
    HeadTimeout,
    HttpAnswer,
    HttpClient,
    HttpStream,
    ReadTimeout,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"

Handler = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = b""

    async def request(self) -> bytes:
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        for line in self.head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return await self.reader.readexactly(int(line.split(b":")[1]))
        return b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> bool:
        """Wait until the client has closed its end."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        return True


class Server:
    """A raw TCP server that runs `handler` for each connection."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.connections = 0
        self.done = asyncio.Event()
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(Peer(reader, writer)))
        self._tasks.add(task)

    async def _serve(self, peer: Peer) -> None:
        assert self.handler is not None
        try:
            await self.handler(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.done.set()
            peer.writer.close()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str = "/x") -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{path}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await made.start()
    yield made
    await made.stop()
    listening.close()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_timeout_s=0.3)
    yield made
    await made.aclose()


async def ask(
    client: HttpClient, url: str, *, timeout_s: float = 5, max_bytes: int = 10**6
) -> HttpAnswer:
    return await client.request(
        "POST", url, headers={"X-A": "1"}, body=b"hi", timeout_s=timeout_s, max_bytes=max_bytes
    )


async def open_stream(client: HttpClient, url: str, *, timeout_s: float = 5) -> HttpStream:
    return await client.open("POST", url, headers={}, body=b"hi", timeout_s=timeout_s)


async def drain(stream: HttpStream, got: list[bytes] | None = None) -> bytes:
    got = [] if got is None else got
    while block := await stream.read(5):
        got.append(block)
    return b"".join(got)


# ---------------------------------------------------------------- what goes well


async def test_an_answer_has_status_headers_and_body(server: Server, client: HttpClient) -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer) -> None:
        seen.append(await peer.request())
        seen.append(peer.head)
        await peer.send(b"HTTP/1.1 201 Created\r\nX-Thing: Yes\r\ncontent-length: 2\r\n\r\nok")

    server.handler = handler
    answer = await ask(client, server.url())
    assert (answer.status, answer.body, answer.headers["x-thing"]) == (201, b"ok", "Yes")
    assert seen[0] == b"hi"
    head = seen[1].lower()
    assert b"accept-encoding: identity\r\n" in head
    assert b"user-agent: gatewayz\r\n" in head
    assert b"cookie" not in head and b"referer" not in head


async def test_chunks_arrive_one_by_one_without_being_held_back(
    server: Server, client: HttpClient
) -> None:
    confirmed = asyncio.Queue[bytes]()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for word in (b"a", b"bb", b"ccc"):
            await peer.chunk(word)
            assert await confirmed.get() == word
        await peer.send(b"0\r\n\r\n")

    server.handler = handler
    stream = await open_stream(client, server.url())
    for _ in range(3):
        confirmed.put_nowait(await stream.read(5))
    assert await stream.read(5) == b""
    assert await stream.read(5) == b""
    await stream.aclose()


async def test_connections_are_reused_after_whole_answers(
    server: Server, client: HttpClient
) -> None:
    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(CHUNKED + b"2\r\nok\r\n0\r\n\r\n")

    server.handler = handler
    for _ in range(5):
        assert (await ask(client, server.url())).body == b"ok"
    stream = await open_stream(client, server.url())
    assert await drain(stream) == b"ok"
    await stream.aclose()
    await ask(client, server.url())
    assert server.connections == 1


def test_one_client_serves_several_event_loops() -> None:
    client = HttpClient()

    async def once() -> bytes:
        server = Server()

        async def handler(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK + b"content-length: 2\r\n\r\nok")

        server.handler = handler
        listening = await server.start()
        body = (await ask(client, server.url())).body
        await server.stop()
        listening.close()
        return body

    assert asyncio.run(once()) == b"ok"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(once()) == b"ok"
    assert asyncio.run(once()) == b"ok"


async def test_proxies_of_the_environment_are_ignored(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: 2\r\n\r\nok")

    server.handler = handler
    client = HttpClient()
    assert (await ask(client, server.url())).body == b"ok"
    await client.aclose()


# ---------------------------------------------------------------- F31: hangs


async def test_F31_hang_on_connect_is_a_connect_timeout(client: HttpClient) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # A full backlog leaves the next handshake unanswered.
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        with pytest.raises(ConnectTimeout):
            await ask(client, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        for one in waiting:
            one.close()


async def test_F31_hang_in_the_tls_handshake_is_a_connect_timeout(
    server: Server, client: HttpClient
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.gone()

    server.handler = handler
    with pytest.raises(ConnectTimeout):
        await ask(client, f"https://127.0.0.1:{server.port}/")


async def test_F31_hang_before_the_head_is_a_head_timeout(
    server: Server, client: HttpClient
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        assert await peer.gone()

    server.handler = handler
    with pytest.raises(HeadTimeout):
        await client.open("GET", server.url(), headers={}, timeout_s=0.1, total_s=0.3)
    assert not server.done.is_set()
    await asyncio.wait_for(server.done.wait(), 5)  # the whole exchange had its limit, too


async def test_F31_a_head_that_comes_after_its_caller_gave_up_finds_the_connection_dropped(
    server: Server, client: HttpClient
) -> None:
    late = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await late.wait()
        await peer.send(CHUNKED + b"2\r\nhi\r\n")
        assert await peer.gone()

    server.handler = handler
    with pytest.raises(HeadTimeout):
        await open_stream(client, server.url(), timeout_s=0.05)
    late.set()
    await asyncio.wait_for(server.done.wait(), 5)


async def test_F31_silence_between_chunks_is_a_read_timeout_that_loses_nothing(
    server: Server, client: HttpClient
) -> None:
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.chunk(b"one")
        await go.wait()
        await peer.chunk(b"two")
        await peer.send(b"0\r\n\r\n")

    server.handler = handler
    stream = await open_stream(client, server.url())
    assert await stream.read(5) == b"one"
    for _ in range(3):
        with pytest.raises(ReadTimeout):
            await stream.read(0.03)
    go.set()
    assert await drain(stream) == b"two"
    await stream.aclose()


async def test_F31_the_limit_of_a_whole_answer_counts_its_body(
    server: Server, client: HttpClient
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: 10\r\n\r\nhalf")
        await peer.gone()

    server.handler = handler
    with pytest.raises(ReadTimeout):
        await ask(client, server.url(), timeout_s=0.15)
    await asyncio.wait_for(server.done.wait(), 5)


async def test_a_caller_who_is_cancelled_stays_cancelled_and_the_connection_is_dropped(
    server: Server, client: HttpClient
) -> None:
    received, late = asyncio.Event(), asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        received.set()
        await late.wait()
        await peer.send(CHUNKED + b"2\r\nhi\r\n")
        assert await peer.gone()

    server.handler = handler
    task = asyncio.create_task(open_stream(client, server.url()))
    await received.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    late.set()
    await asyncio.wait_for(server.done.wait(), 5)


async def test_a_caller_who_is_cancelled_within_the_body_can_still_close(
    server: Server, client: HttpClient
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"2\r\nhi\r\n")
        assert await peer.gone()

    server.handler = handler
    stream = await open_stream(client, server.url())
    assert await stream.read(5) == b"hi"
    task = asyncio.create_task(stream.read(5))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stream.aclose()
    await asyncio.wait_for(server.done.wait(), 5)


async def test_closing_mid_body_drops_the_connection(server: Server, client: HttpClient) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.chunk(b"one")
        assert await peer.gone()

    server.handler = handler
    stream = await open_stream(client, server.url())
    assert await stream.read(5) == b"one"
    await stream.aclose()
    await stream.aclose()
    await asyncio.wait_for(server.done.wait(), 5)
    assert await stream.read(5) == b""


# ---------------------------------------------------------------- F32, F33: cuts


@pytest.mark.parametrize(
    "wire",
    [
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhel",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
        CHUNKED + b"zz\r\n",
        OK + b"content-length: 100\r\n\r\nhello",
    ],
)
async def test_F32_a_body_that_ends_early_never_ends_cleanly(
    server: Server, client: HttpClient, wire: bytes
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)

    server.handler = handler
    stream = await open_stream(client, server.url())
    got: list[bytes] = []
    with pytest.raises(ConnectionBroken):
        await drain(stream, got)
    await stream.aclose()
    assert b"hello".startswith(b"".join(got))


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200", b"garbage\r\n\r\n", b"SSH-2.0-x\r\n"])
async def test_F33_no_http_answer_is_broken(
    server: Server, client: HttpClient, wire: bytes
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)

    server.handler = handler
    with pytest.raises(ConnectionBroken):
        await ask(client, server.url())


async def test_F32_reset_is_broken_before_and_within_the_body(
    server: Server, client: HttpClient
) -> None:
    async def before(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async def within(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: 100\r\n\r\nhello")
        await asyncio.sleep(0.05)
        peer.reset()

    for handler in (before, within):
        server.handler = handler
        with pytest.raises(ConnectionBroken):
            await ask(client, server.url())


async def test_no_listener_no_host_no_address_are_failures_to_connect(client: HttpClient) -> None:
    for url in ("http://127.0.0.1:1/", "http://nowhere.invalid/", "http://", "nonsense"):
        with pytest.raises(ConnectFailed):
            await ask(client, url)


async def test_F57_headers_that_would_split_the_request_are_refused(client: HttpClient) -> None:
    with pytest.raises(ConnectFailed):
        await client.request(
            "GET",
            "http://127.0.0.1:1/",
            headers={"x": "a\r\nhost: evil"},
            timeout_s=1,
            max_bytes=1,
        )


# ---------------------------------------------------------------- F35: size; F43: redirects


async def test_F35_a_body_above_the_cap_is_cut_at_the_cap(
    server: Server, client: HttpClient
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.chunk(b"x" * 65536)

    server.handler = handler
    with pytest.raises(BodyTooLarge):
        await ask(client, server.url(), max_bytes=100_000)
    await asyncio.wait_for(server.done.wait(), 5)


async def test_F35_gzip_is_read_within_the_cap_and_a_bomb_is_cut(
    server: Server, client: HttpClient
) -> None:
    body = gzip.compress(b"hello " * 1000)

    async def handler(peer: Peer) -> None:
        await peer.request()
        head = b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
        await peer.send(OK + head + body)

    server.handler = handler
    assert (await ask(client, server.url())).body == b"hello " * 1000
    body = gzip.compress(bytes(100_000_000), 9)
    with pytest.raises(BodyTooLarge):
        await ask(client, server.url())
    body = gzip.compress(b"hello " * 1000)[:-9]
    with pytest.raises(ConnectionBroken):
        await ask(client, server.url())
    body = b"no gzip at all"
    with pytest.raises(ConnectionBroken):
        await ask(client, server.url())


async def test_an_encoding_nobody_asked_for_is_refused(server: Server, client: HttpClient) -> None:
    body = zlib.compress(b"hello")

    async def handler(peer: Peer) -> None:
        await peer.request()
        head = b"content-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(body)
        await peer.send(OK + head + body)

    server.handler = handler
    with pytest.raises(ConnectionBroken):
        await ask(client, server.url())


async def test_F43_redirects_are_not_followed(server: Server, client: HttpClient) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")

    server.handler = handler
    answer = await ask(client, server.url())
    assert answer.status == 302
    assert server.connections == 1


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_tls_is_verified_and_a_named_authority_is_trusted(certificate: Path) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: 2\r\n\r\nok")

    server = Server()
    server.handler = handler
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate)
    listening = await server.start()
    strict, trusting = HttpClient(), HttpClient(extra_ca_pem=certificate.read_bytes())
    with pytest.raises(ConnectFailed):
        await ask(strict, server.url())
    assert (await ask(trusting, server.url())).body == b"ok"
    await strict.aclose()
    await trusting.aclose()
    await server.stop()
    listening.close()


# ---------------------------------------------------------------- connections


async def test_a_connection_its_server_closed_meanwhile_is_not_used_again(
    server: Server, client: HttpClient
) -> None:
    closed = asyncio.Queue[bool]()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: 2\r\n\r\nok")
        peer.writer.close()
        closed.put_nowait(True)

    server.handler = handler
    for _ in range(20):
        assert (await ask(client, server.url())).body == b"ok"
        await closed.get()
        await asyncio.sleep(0.02)
    assert server.connections == 20


async def test_many_calls_at_once_each_get_their_own_answer(
    server: Server, client: HttpClient
) -> None:
    async def handler(peer: Peer) -> None:
        while True:
            body = await peer.request()
            await peer.send(OK + b"content-length: %d\r\n\r\n" % len(body) + body)

    async def one(number: int) -> None:
        body = b"%d" % number
        answer = await client.request(
            "POST", server.url(), headers={}, body=body, timeout_s=10, max_bytes=100
        )
        assert answer.body == body

    server.handler = handler
    await asyncio.gather(*[one(number) for number in range(200)])
    await asyncio.gather(*[one(number) for number in range(200)])
    assert server.connections <= 400
