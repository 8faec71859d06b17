"""Model servers of this machine are found by asking; nothing else is taken for one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gatewayz.catalog.discover import PROBE_S, discover_local, read_list, with_local_servers
from gatewayz.catalog.load import load_catalog
from gatewayz.core.settings import CatalogSettings
from gatewayz.net.http import HttpClient
from gatewayz.providers.config import Provider, load_providers
from gatewayz.stores.secrets import Secrets

LISTS: dict[str, Any] = {
    "ollama": {"object": "list", "data": [{"id": "llama3.2:3b", "object": "model"}]},
    "llamacpp": {"data": [{"id": "/models/Qwen3-1.7B-Q4_K_M.gguf", "meta": {"n_ctx": 4096}}]},
    "vllm": {"data": [{"id": "Qwen/Qwen3-8B", "max_model_len": 40960}]},
}


class Server:
    """Answers every request with one fixed body, or never when there is none."""

    def __init__(self, body: bytes | None, status: str = "200 OK") -> None:
        self._body, self._status = body, status
        self.heads: list[bytes] = []
        self.port = 0

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            if self._body is None:
                await reader.read()
                return
            head = f"HTTP/1.1 {self._status}\r\ncontent-length: {len(self._body)}\r\n\r\n"
            writer.write(head.encode() + self._body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class KeyRing(Secrets):
    def find(self, name: str) -> str | None:
        return "local-key" if name == "VLLM_API_KEY" else None


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.aclose()


def rows(**ports: int) -> list[Provider]:
    """The bundled local rows, looked for on these ports only."""
    providers = load_providers()
    return [replace(providers[slug], ports=(port,)) for slug, port in ports.items()]


async def test_servers_that_answer_are_found_with_their_models_at_price_0(
    http: HttpClient,
) -> None:
    async with AsyncExitStack() as stack:
        servers = {
            slug: await stack.enter_async_context(Server(orjson.dumps(body)))
            for slug, body in LISTS.items()
        }
        ports = {slug: server.port for slug, server in servers.items()}
        found = await discover_local(http, rows(**ports), secrets=KeyRing())
    models = {provider.slug: [e.model.id for e in entries] for provider, entries in found}
    assert models == {
        "ollama": ["ollama/llama3.2:3b"],
        "llamacpp": ["llamacpp/Qwen3-1.7B-Q4_K_M.gguf"],
        "vllm": ["vllm/Qwen/Qwen3-8B"],
    }
    offers = {entries[0].offers[0].provider: entries[0].offers[0] for _, entries in found}
    assert offers["llamacpp"].native_id == "/models/Qwen3-1.7B-Q4_K_M.gguf"
    assert offers["llamacpp"].context_tokens == 4096
    assert offers["vllm"].context_tokens == 40960
    assert offers["ollama"].context_tokens is None
    for offer in offers.values():
        assert offer.price is not None
        assert offer.price.of("input") == offer.price.of("output") == 0
    bases = {provider.slug: provider.base_url for provider, _ in found}
    assert bases["vllm"] == f"http://127.0.0.1:{ports['vllm']}/v1"
    assert servers["vllm"].heads[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"authorization: bearer local-key" in servers["vllm"].heads[0].lower()
    assert b"authorization" not in servers["ollama"].heads[0].lower()


async def test_found_models_can_be_served_beside_the_bundled_ones(http: HttpClient) -> None:
    providers, catalog = load_catalog(CatalogSettings(), KeyRing())
    async with Server(orjson.dumps(LISTS["ollama"])) as server:
        mine = {slug: replace(p, ports=()) for slug, p in providers.items()}
        mine["ollama"] = replace(mine["ollama"], ports=(server.port,))
        known, more = await with_local_servers(mine, catalog, http, secrets=KeyRing())
    (offer,) = more.servable("ollama/llama3.2:3b")
    assert known[offer.provider].base_url == f"http://127.0.0.1:{server.port}/v1"
    assert len(more.models()) == len(catalog.models()) + 1
    assert catalog.find("ollama/llama3.2:3b") is None


async def test_silent_broken_and_absent_servers_cost_no_more_than_one_probe(
    http: HttpClient,
) -> None:
    async with (
        Server(None) as silent,
        Server(b"<html>") as page,
        Server(b'{"error":"no"}', "401 Unauthorized") as locked,
    ):
        places = rows(ollama=silent.port, llamacpp=page.port, lmstudio=locked.port, vllm=1)
        started_s = time.monotonic()
        found = await discover_local(http, places, secrets=KeyRing())
        # One after the other they would take a multiple; the bound is generous for slow machines.
        assert time.monotonic() - started_s < 3 * PROBE_S
    assert found == []


async def test_our_own_ports_are_not_asked(http: HttpClient) -> None:
    async with Server(orjson.dumps(LISTS["vllm"])) as own, Server(b"{}") as sandbox:
        sandbox_url = f"http://127.0.0.1:{sandbox.port}/v1"
        places = [
            load_providers(sandbox_url=sandbox_url)["sandbox"],
            *rows(vllm=own.port, llamacpp=sandbox.port),
        ]
        found = await discover_local(http, places, own_ports=[own.port], secrets=KeyRing())
        assert found == []
        assert own.heads == sandbox.heads == []


async def test_a_kind_is_looked_for_on_each_of_its_ports(http: HttpClient) -> None:
    async with Server(orjson.dumps(LISTS["vllm"])) as server:
        (row,) = rows(vllm=1)
        places = [replace(row, ports=(1, server.port))]
        ((provider, _),) = await discover_local(http, places, secrets=KeyRing())
    assert provider.base_url.endswith(f":{server.port}/v1")


@pytest.mark.parametrize(
    "listed",
    [
        None,
        [],
        "text",
        {},
        {"data": "x"},
        {"data": [1, None, {"id": 7}, {"id": ""}, {"id": "bad id"}, {"id": "x" * 200}]},
        {"data": [{"id": "a/b", "pricing": {"prompt": "0"}}]},
    ],
)
def test_what_is_no_model_servers_list_has_no_models(listed: Any) -> None:
    assert read_list(load_providers()["vllm"], listed) == ()


@pytest.mark.parametrize(
    ("slug", "name", "gives"),
    [
        ("ollama", "nomic-embed-text:latest", ("embeddings",)),
        ("ollama", "bge-m3", ("embeddings",)),
        ("ollama", "llama3.2", ("text", "embeddings")),
        ("vllm", "BAAI/bge-reranker-v2-m3", ("rerank",)),
        ("vllm", "BAAI/bge-large-en-v1.5", ("embeddings",)),
        ("vllm", "intfloat/e5-mistral-7b-instruct", ("embeddings",)),
        ("vllm", "Qwen/Qwen3-8B", ("text", "rerank", "embeddings")),
    ],
)
def test_a_found_model_may_be_asked_for_what_its_name_says_or_for_all_its_server_has(
    slug: str, name: str, gives: tuple[str, ...]
) -> None:
    (entry,) = read_list(load_providers()[slug], {"data": [{"id": name}]})
    assert entry.model.output_modalities == gives
