"""Fetching what a caller names: from the address that was checked, bounded in size, time and kind
(F59), and the same check for addresses that we shall call later (F60)."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from gatewayz.core.settings import SettingsError
from gatewayz.net.egress import Egress, FetchRefused, read_networks, resolve

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
LOOPBACK = read_networks("127.0.0.0/8")

Serve = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Site:
    """One server; `heads` holds what was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.pages: dict[str, bytes] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            page = self.pages[head.split()[1]]
            writer.write(page)
            await writer.drain()
            if page.endswith(b"..."):  # and then nothing for ever
                await reader.read()
        except OSError:
            pass  # the other side has had enough
        finally:
            writer.close()

    def url(self, path: str, host: str = "pictures.example") -> str:
        return f"http://{host}:{self.port}{path}"


@asynccontextmanager
async def opened() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with opened() as made:
        yield made


def names(**known: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def find(host: str, port: int) -> Sequence[str]:
        if host not in known:
            raise OSError
        return known[host]

    return find


HERE = names(**{"pictures.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})


async def test_a_picture_is_fetched_from_the_address_that_was_checked(site: Site) -> None:
    site.pages["/a.png?x=1"] = answer(PNG, "content-type: text/html")
    found = await Egress(LOOPBACK, resolve=HERE).fetch(site.url("/a.png?x=1"))
    assert (found.mime, found.body) == ("image/png", PNG)
    [head] = site.heads
    assert f"host: pictures.example:{site.port}\r\n" in head.lower()
    assert not {"authorization", "cookie", "referer", "x-api-key"} & {
        line.split(":")[0].lower() for line in head.split("\r\n")
    }


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["8.8.8.8", "10.0.0.1"],
        ["2606:4700::1", "::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["127.0.0.1"],
    ],
)
async def test_F59_a_name_is_refused_when_any_of_its_addresses_is_private(
    addresses: list[str],
) -> None:
    egress = Egress(resolve=names(**{"pictures.example": addresses}))
    with pytest.raises(FetchRefused, match="not public"):
        await egress.fetch("http://pictures.example/a.png")


async def test_F59_a_name_that_is_rebound_after_the_check_is_still_called_where_it_was_checked(
    site: Site,
) -> None:
    """The first answer is the one that counts: nobody asks a second time."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    site.pages["/a.png"] = answer(PNG)
    # The name exists nowhere: had anybody else resolved it, there would be no answer.
    assert (await Egress(LOOPBACK, resolve=rebinding).fetch(site.url("/a.png"))).body == PNG
    assert asked == ["pictures.example"]
    with pytest.raises(FetchRefused, match="not public"):
        await Egress(LOOPBACK, resolve=rebinding).fetch(site.url("/a.png"))


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "file:///etc/passwd",
        "http://inside.example/",
        "//[::1]/",
        "http://2130706433/",
    ],
)
async def test_F59_a_redirect_inward_is_refused_at_any_step(site: Site, target: str) -> None:
    inside = names(**{"pictures.example": ["127.0.0.1"], "inside.example": ["192.168.0.1"]})
    site.pages["/1"] = answer(b"", "location: /2", status="302 Found")
    site.pages["/2"] = answer(b"", f"location: {target}", status="307 Temporary Redirect")
    with pytest.raises(FetchRefused):
        await Egress(LOOPBACK, resolve=inside).fetch(site.url("/1"))
    assert len(site.heads) == 2


async def test_a_redirect_to_another_public_place_is_followed_three_times(site: Site) -> None:
    site.pages |= {
        f"/{n}": answer(b"", f"location: {site.url(f'/{n + 1}', 'other.example')}", status="301 X")
        for n in range(4)
    }
    site.pages["/3"] = answer(PNG)
    egress = Egress(LOOPBACK, resolve=HERE)
    assert (await egress.fetch(site.url("/0"))).body == PNG
    site.pages["/3"] = answer(b"", "location: /4", status="303 See Other")
    site.pages["/4"] = answer(PNG)
    with pytest.raises(FetchRefused, match="redirects more than 3 times"):
        await egress.fetch(site.url("/0"))


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (answer(b"x" * 2000, status="200 OK"), "larger than 1000"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + PNG + b"x" * 2000, "larger than 1000"),
        (answer(gzip.compress(PNG + b"\0" * 9000), "content-encoding: gzip"), "larger|reached"),
        (answer(b"nope", status="404 Not Found"), "answers 404"),
        (answer(b"nope", status="500 Oops"), "answers 500"),
        (answer(b"", status="204 No Content"), "answers 204"),
        (answer(b""), "no picture"),
        (answer(b"<html>", "content-type: image/png"), "no picture"),
        (answer(b"<svg xmlns='x'/>", "content-type: image/svg+xml"), "no picture"),
        (answer(b"<?xml?><svg/>", "content-type: text/plain; x"), None),
        (answer(b"\xff\xfe bin", "content-type: text/plain"), "no picture"),
        (answer(b"a\0b", "content-type: text/plain"), "no picture"),
        (answer(b"#!/bin/sh", "content-type: application/octet-stream"), "no picture"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + PNG, "cannot be reached"),
        (b"not http at all\r\n\r\n", "cannot be reached"),
    ],
)
async def test_F59_what_is_too_large_broken_or_of_no_known_kind_is_refused(
    site: Site, page: bytes, why: str | None
) -> None:
    site.pages["/a"] = page
    egress = Egress(LOOPBACK, resolve=HERE, max_bytes=1000)
    if why is None:
        assert (await egress.fetch(site.url("/a"))).mime == "text/plain"
        return
    with pytest.raises(FetchRefused, match=why):
        await egress.fetch(site.url("/a"))


async def test_F59_a_server_that_drips_is_left_after_the_time_limit(site: Site) -> None:
    site.pages["/a"] = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + PNG + b"..."
    with pytest.raises(FetchRefused, match=r"did not come within 0\.2 s"):
        await Egress(LOOPBACK, resolve=HERE, timeout_s=0.2).fetch(site.url("/a"))


async def test_nobody_learns_what_listens_at_a_private_address(site: Site) -> None:
    """The refusal is the same whether something is there or not."""
    said = set()
    for port in (site.port, 80, 443):
        with pytest.raises(FetchRefused) as refused:
            await Egress(resolve=HERE).fetch(f"http://127.0.0.1:{port}/")
        said.add(str(refused.value).replace("its port is not one of the web", ""))
    assert said <= {"its address is not public", ""}
    assert site.heads == []


async def test_a_name_without_an_address_is_told(site: Site) -> None:
    with pytest.raises(FetchRefused, match="no address"):
        await Egress(resolve=names()).fetch("http://nowhere.example/")
    with pytest.raises(FetchRefused, match="no address"):
        await Egress(resolve=names(**{"x.example": []})).fetch("http://x.example/")


async def test_this_machines_own_name_is_resolved_whole() -> None:
    assert "127.0.0.1" in await resolve("localhost", 80)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/hook",
        "https://169.254.169.254/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "https://inside.example/hook",
        "https://localhost./hook",
        "https://me@hooks.example/hook",
        "https://0x7f.1/hook",
        "https://hooks.example:22/hook",
        "ftp://hooks.example/hook",
    ],
)
async def test_F60_an_address_to_be_called_later_is_refused_when_it_leads_inward(url: str) -> None:
    known = names(**{"inside.example": ["10.0.0.7"], "hooks.example": ["1.1.1.1"]})
    with pytest.raises(FetchRefused):
        await Egress(resolve=known).check(url)


async def test_F60_the_address_that_was_checked_is_told_so_that_it_is_the_one_called() -> None:
    known = names(**{"hooks.example": ["1.1.1.1", "2606:4700::1111"]})
    assert await Egress(resolve=known).check("https://hooks.example/hook") == "1.1.1.1"


def test_networks_are_read_as_the_operator_writes_them() -> None:
    assert [str(n) for n in read_networks("10.1.0.0/16, fd00::/8 192.168.0.7")] == [
        "10.1.0.0/16",
        "fd00::/8",
        "192.168.0.7/32",
    ]
    assert read_networks("") == ()
    with pytest.raises(SettingsError, match="GATEWAYZ_FETCH_NETWORKS: 'office' is no network"):
        read_networks("10.0.0.0/8 office")
