"""The upstreams of fault tests: good and bad ones in a provider file, and a recorded stream."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.fakes.upstream import RawUpstream
from tests.faults.scene import INPUT, OUTPUT, Scene

# The one that fails comes first, whatever its price.
ORDERED = {"order": ["full", "mute", "slow", "raw"]}
SECRET = "zq9X8w7V6u5T4s3R2q1P0o9N8m7L"
PROVIDERS = """
[raw]
name = "Raw"
dialect = "openai_chat"
base_url = "{raw}/v1"
credential = "TEST_RAW_KEY"
local = true
[quick]
name = "Quick"
dialect = "openai_chat"
base_url = "{sandbox}/v1"
local = true
timeouts = {{ idle_s = 0.3 }}
[impatient]
name = "Impatient"
dialect = "openai_chat"
base_url = "{raw}/v1"
local = true
timeouts = {{ idle_s = 0.5 }}
cancel_stops_billing = true
[patient]
name = "Patient"
dialect = "openai_chat"
base_url = "{raw}/v1"
local = true
cancel_stops_billing = true
[slow]
name = "Slow"
dialect = "openai_chat"
base_url = "{raw}/v1"
local = true
timeouts = {{ first_token_s = 0.3, total_s = 0.3 }}
[full]
name = "Full"
dialect = "openai_chat"
base_url = "http://127.0.0.1:{full}/v1"
local = true
[mute]
name = "Mute"
dialect = "openai_chat"
base_url = "https://127.0.0.1:{mute}/v1"
local = true
[spare]
name = "Spare"
dialect = "openai_chat"
base_url = "{sandbox}/v1"
local = true
[[models]]
id = "raw/*"
provider = "raw"
native_id = "*"
input = 0.5
output = 1.5
[[models]]
id = "impatient/*"
provider = "impatient"
native_id = "*"
input = 0.5
output = 1.5
[[models]]
id = "patient/*"
provider = "patient"
native_id = "*"
input = 0.5
output = 1.5
[[models]]
id = "quick/*"
provider = "quick"
native_id = "*"
input = 0.5
output = 1.5
"""
PAIR = """
[[models]]
id = "{first}-or-spare/*"
[[models.offers]]
provider = "{first}"
native_id = "mock-hang-*"
input = 50
output = 50
[[models.offers]]
provider = "spare"
native_id = "mock-n3-b{number}-*"
input = 0.5
output = 1.5
"""
ALONE = """
[[models]]
id = "{first}/x"
provider = "{first}"
native_id = "x"
input = 0.5
output = 1.5
"""


@pytest.fixture
def deaf() -> Iterator[tuple[int, int]]:
    """Two ports: one whose backlog is full, so that connecting hangs; one that takes connections
    and never says a word, so that TLS hangs."""
    full, mute = socket.socket(), socket.socket()
    fillers = []
    for made in (full, mute):
        made.bind(("127.0.0.1", 0))
    full.listen(0)
    mute.listen(64)
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
        fillers.append(filler)
    yield full.getsockname()[1], mute.getsockname()[1]
    for made in (full, mute, *fillers):
        made.close()


@pytest.fixture
def providers_file(
    raw: RawUpstream,
    sandbox: tuple[Any, str],
    deaf: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setenv("TEST_RAW_KEY", SECRET)
    file = tmp_path / "providers.toml"
    text = PROVIDERS.format(raw=raw.url, sandbox=sandbox[1], full=deaf[0], mute=deaf[1])
    for number, first in enumerate(("raw", "slow", "full", "mute"), 1):
        text += PAIR.format(first=first, number=number)
    for first in ("slow", "full", "mute"):
        text += ALONE.format(first=first)
    file.write_text(text)
    return str(file)


# ------------------------------------------------------------------ a recorded stream


def event(**fields: Any) -> dict[str, Any]:
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | fields


def delta(text: str | None, finish: str | None = None) -> dict[str, Any]:
    said = {} if text is None else {"content": text}
    return event(choices=[{"index": 0, "delta": said, "finish_reason": finish}])


USAGE = {"prompt_tokens": 60, "completion_tokens": 9, "total_tokens": 69}
EVENTS = [
    delta(""),
    delta("Hé \n"),
    delta("wörld"),
    delta(None, "stop"),
    event(choices=[], usage=USAGE),
]
SAID = "Hé \nwörld"
FULL_CHARGE = 60 * INPUT + 9 * OUTPUT


def sse(*, end: str = "\n\n", done: bool = True, events: list[Any] = EVENTS) -> bytes:
    text = "".join("data: " + orjson.dumps(event).decode() + end for event in events)
    return (text + ("data: [DONE]" + end if done else "")).encode()


async def ask(world: Scene, model: str, *, stream: bool, **fields: Any) -> tuple[Any, int, str]:
    """(account, status, text) of one request by a new account."""
    account = await world.account()
    if stream:
        status, _, text = await world.stream(account, model, **fields)
        return account, status, text
    got = await world.post(account, model, **fields)
    return account, got.status_code, got.text
