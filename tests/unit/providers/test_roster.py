"""The roster as people see it: the README's table is the rows', the doctor says what is missing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.cli.finding import Finding
from gatewayz.cli.roster import BEGIN, END, check_roster, roster_table, write_table
from gatewayz.net.http import HttpClient
from gatewayz.providers.config import load_providers
from gatewayz.providers.provider import Listing, Provider
from gatewayz.stores.secrets import Secrets

ROOT = Path(__file__).resolve().parents[3]


def test_the_readmes_table_is_what_the_rows_are() -> None:
    written = (ROOT / "README.md").read_text().partition(BEGIN)[2].partition(END)[0]
    now = roster_table(load_providers().values())
    assert written == now, "run: python -m gatewayz.cli.roster README.md"


def test_every_row_stands_in_it_with_what_has_to_be_set() -> None:
    rows = load_providers(sandbox_url="http://127.0.0.1:1/v1")
    lines = roster_table(rows.values()).splitlines()[2:]
    assert len(lines) == len(rows) - 1
    for row, line in zip((r for r in rows.values() if not r.sandbox), lines, strict=True):
        assert f"`{row.slug}`" in line
        for name in (row.credential, *row.alternatives, *(p.names[0] for p in row.params.values())):
            assert f"`{name}`" in line or not name
        assert ("switched off" in line) != row.enabled


def test_a_table_is_put_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}\nafter\n")
    write_table(page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "`openai`" in text
    assert "old" not in text


# ---------------------------------------------------------------- what the doctor says


class Site:
    """A provider's list of models that takes one key."""

    def __init__(self) -> None:
        self.port = 0
        self.status = 200
        self.lines: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.lines.append(head.split("\r\n")[0])
        status = self.status if "good-key" in head else 401
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


async def said(monkeypatch: pytest.MonkeyPatch, row: Provider, **secrets: str) -> Finding:
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    http = HttpClient()
    try:
        [found] = await check_roster(http, [row], Secrets())
    finally:
        await http.aclose()
    assert "good-key" not in found.state + found.mend
    return found


def here(site: Site, slug: str = "groq", **changes: Any) -> Provider:
    url = f"http://127.0.0.1:{site.port}/v1"
    return replace(load_providers()[slug], base_url=url, credential="P_KEY", **changes)


async def test_a_credential_that_is_taken_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await said(monkeypatch, here(site), P_KEY="good-key")
    assert (found.mark, found.state) == ("ok", "takes the credential")
    assert site.lines == ["GET /v1/models HTTP/1.1"]


async def test_a_credential_is_never_tried_on_a_list_that_everybody_may_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = Listing("openai", path="/everything", public=True)
    await said(monkeypatch, here(site, listing=listing), P_KEY="good-key")
    assert site.lines == ["GET /v1/models HTTP/1.1"]


@pytest.mark.parametrize(
    ("status", "mark", "words"),
    [
        (403, "bad", "refuses the credential (403)"),
        (402, "bad", "has no credit for us"),
        (404, "ok", "configured; it has no list"),
        (500, "warn", "answers 500"),
    ],
)
async def test_what_a_provider_answers_decides_what_is_to_be_done(
    site: Site, monkeypatch: pytest.MonkeyPatch, status: int, mark: str, words: str
) -> None:
    site.status = status
    found = await said(monkeypatch, here(site), P_KEY="good-key")
    assert found.mark == mark
    assert words in found.state


async def test_a_wrong_credential_is_told_from_one_of_another_region(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await said(monkeypatch, here(site), P_KEY="bad-key")
    assert (found.mark, found.mend) == ("bad", "Put a valid key into P_KEY.")
    found = await said(monkeypatch, here(site, "alibaba-dashscope"), P_KEY="bad-key")
    assert found.mark == "warn"
    assert "region" in found.mend


async def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load_providers()
    found = await said(monkeypatch, rows["groq"])
    assert (found.mark, found.state) == ("off", "not configured (set GROQ_API_KEY)")
    found = await said(monkeypatch, rows["cloudflare-workers-ai"])
    assert "set CLOUDFLARE_API_TOKEN or CLOUDFLARE_API_KEY and CLOUDFLARE_ACCOUNT_ID" in found.state
    found = await said(monkeypatch, rows["cloudflare-workers-ai"], CLOUDFLARE_API_KEY="k")
    assert found.mark == "warn"
    assert "set CLOUDFLARE_ACCOUNT_ID" in found.state
    found = await said(monkeypatch, rows["lambda"], LAMBDA_API_KEY="k")
    assert (found.mark, found.state) == ("off", "switched off in providers.toml")


async def test_an_account_that_gets_no_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    row = load_providers()["google-vertex"]
    secrets = {"GOOGLE_APPLICATION_CREDENTIALS": "{}", "GOOGLE_VERTEX_PROJECT": "p"}
    found = await said(monkeypatch, row, **secrets)
    assert found.mark == "bad"
    assert "GOOGLE_APPLICATION_CREDENTIALS" in found.mend


async def test_a_server_of_ones_own_that_does_not_run_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = replace(load_providers()["vllm"], base_url="http://127.0.0.1:1/v1", ports=())
    found = await said(monkeypatch, replace(row, credential=""))
    assert (found.mark, found.state) == ("off", "no server answers at http://127.0.0.1:1/v1")
    there = replace(row, base_url="https://127.0.0.1:1/v1", local=False, credential="P_KEY")
    assert (await said(monkeypatch, there, P_KEY="k")).mark == "bad"
