"""How often a long prompt is in memory at most, from its bytes to those that a provider gets. Run
by test_memory.py in a process of its own; prints {"client kind": {upstream: copies}}.
"""

import gc
import json
from pathlib import Path
from typing import Any

import orjson

from gatewayz.dialects.form import Target
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.registry import CALLS
from gatewayz.net.body import parse_object

SIZE = 8_000_000
REPLY = Reply("req_01ARZ3NDEKTSV4RRFFQ69G5FAV", "maker/model", "Provider")
PATH = {":path": "/v1beta/models/m:generateContent", ":query": ""}
UPSTREAMS = ("openai_chat", "openai_responses", "anthropic", "google", "bedrock", "cohere")


def bodies(size: int) -> dict[str, tuple[str, dict[str, Any]]]:
    text = "All work and no play. " * (size // 22)
    turn = {"role": "user", "content": text}
    url = "data:image/png;base64,iVBORw0KGgo" + "A" * size
    shown = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    return {
        "chat": ("openai_chat", {"model": "m", "messages": [turn]}),
        "picture": ("openai_chat", {"model": "m", "messages": [shown]}),
        "responses": ("openai_responses", {"model": "m", "input": text}),
        "messages": ("anthropic", {"model": "m", "max_tokens": 9, "messages": [turn]}),
        "google": ("google", {"contents": [{"role": "user", "parts": [{"text": text}]}]}),
        "completions": ("openai_completions", {"model": "m", "prompt": text}),
    }


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(name)


def _pass(client: str, held: list[bytes], upstream: str) -> int:
    """What the function does with a body; the size of what is sent on."""
    call = CALLS[client](parse_object(held[0]), PATH)
    held.clear()
    return len(call.exchange(upstream, Target("native"), REPLY, None).request.body)


def copies(client: str, body: dict[str, Any], upstream: str) -> float:
    held = [orjson.dumps(body)]
    gc.collect()
    size = len(held[0])
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest mark
    before = _status("VmRSS")
    sent = _pass(client, held, upstream)
    assert sent > size // 2
    return round((_status("VmHWM") - before) / size + 1, 2)


def main() -> None:
    found: dict[str, dict[str, float]] = {}
    for size in (1000, SIZE):  # the first time, code is loaded
        for kind, (client, body) in bodies(size).items():
            found[kind] = {name: copies(client, body, name) for name in UPSTREAMS}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
