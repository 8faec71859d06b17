"""Bodies, names and headers that nobody should send: refused before any hold, or ignored."""

import gzip
from typing import Any

import httpx
import orjson
import pytest

from tests.faults.scene import MESSAGES, RawCall, Scene, chat_body, http_request, reached
from tests.world import Account

MODEL = "sandbox/mock-n2"
SMALL = 64 * 1024
# All that an upstream may see of us.
OUTGOING = {
    "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type",
    "host", "user-agent",
}  # fmt: skip


async def refused(world: Scene, account: Account, status: int, code: str | None = None) -> None:
    """Nothing was called, held or queued for what was just refused."""
    assert world.sandbox.requests == 0
    assert world.holds(account) == {}
    assert await world.depth() == 0


async def send(world: Scene, account: Account, body: bytes, **headers: str) -> Any:
    return await world.client.post(
        "/v1/chat/completions", content=body, headers=account.headers | headers
    )


async def check(world: Scene, bodies: dict[str, bytes], status: int, codes: set[str]) -> None:
    account = await world.account()
    for name, body in bodies.items():
        answer = await send(world, account, body)
        got = answer.json()
        assert (answer.status_code, name) == (status, name), got
        assert got["error"]["code"] in codes, (name, got)
        assert got["request_id"].startswith("req_"), name
        assert got["error"]["type"] == "invalid_request_error", name
    await refused(world, account, status)


def body_with(extra: str) -> bytes:
    """A chat body with `extra` text as further members."""
    return b'{"model":"%b","messages":[{"role":"user","content":"hi"}],%b}' % (
        MODEL.encode(),
        extra.encode("utf-8", "surrogatepass"),
    )


# ------------------------------------------------------------------ F46


async def test_F46_fifty_megabytes_are_refused_without_a_hold(world: Scene) -> None:
    account = await world.account()
    limit = world.settings.http.max_body_bytes
    prompt = chat_body(MODEL, messages=[{"role": "user", "content": "x" * 50_000_000}])
    declared = await RawCall(world).open(
        http_request(account, b"", f"content-length: {len(prompt)}")
    )
    await declared.until(b"request_too_large")
    assert declared.text.startswith(b"HTTP/1.1 413") and str(limit).encode() in declared.text
    declared.leave()

    async def parts() -> Any:
        for start in range(0, len(prompt), 1 << 20):
            yield prompt[start : start + (1 << 20)]

    try:
        answer = await world.client.post(
            "/v1/chat/completions", content=parts(), headers=account.headers
        )
    except httpx.TransportError:
        pass  # the server may stop reading before the caller has stopped writing
    else:
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"
    await world.quiet()
    await refused(world, account, 413)


@pytest.mark.tuned(max_body_bytes=SMALL)
async def test_F46_lengths_that_lie(world: Scene) -> None:
    account = await world.account()
    large = chat_body(MODEL, messages=[{"role": "user", "content": "x" * 2 * SMALL}])
    small = chat_body(MODEL)
    chunked = b"".join(
        b"%x\r\n%b\r\n" % (len(large[i : i + 4096]), large[i : i + 4096])
        for i in range(0, len(large), 4096)
    )
    call = await RawCall(world).open(
        http_request(account, chunked + b"0\r\n\r\n", "transfer-encoding: chunked")
    )
    await call.until(b"request_too_large")
    assert call.text.startswith(b"HTTP/1.1 413")
    call.leave()

    bomb = gzip.compress(large)
    assert len(bomb) < 4096
    answer = await send(world, account, bomb, **{"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    zipped = gzip.compress(small)
    for body in (zipped[:-9], zipped + b"x", small):
        answer = await send(world, account, body, **{"content-encoding": "gzip"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")

    # Shorter than it says: the rest never comes.
    call = await RawCall(world).open(
        http_request(account, small, f"content-length: {len(small) + 10}")
    )
    call.leave()
    # Longer than it says: what is read is no JSON, what follows is no request.
    call = await RawCall(world).open(
        http_request(account, small, f"content-length: {len(small) - 10}")
    )
    assert b"HTTP/1.1 400" in await call.rest()
    await world.quiet()
    await refused(world, account, 413)
    answer = await send(world, account, gzip.compress(small), **{"content-encoding": "gzip"})
    assert answer.status_code == 200


# ------------------------------------------------------------------ F47–F52


async def test_F47_deep_nesting(world: Scene) -> None:
    deep = 100_000
    await check(
        world,
        {
            "arrays": body_with('"x":' + "[" * deep + "]" * deep),
            "objects": body_with('"x":' + '{"a":' * deep + "1" + "}" * deep),
            "unclosed": body_with('"x":' + "[" * deep),
            "just too deep": body_with('"x":' + "[" * 220 + "]" * 220),
            "nothing else": b"[" * deep,
        },
        400,
        {"invalid_json"},
    )


async def test_F48_huge_integers_and_invalid_utf8(world: Scene) -> None:
    digits = "9" * 5000
    await check(
        world,
        {
            "integer": body_with(f'"seed":{digits}'),
            "negative": body_with(f'"seed":-{digits}'),
            "unknown field": body_with(f'"x":{{"y":[{digits}]}}'),
            "just above": body_with(f'"x":{2**64}'),
            "just below": body_with(f'"x":-{2**63 + 1}'),
            "bad byte": body_with('"user":"').replace(b'"user":"', b'"user":"\xff\xfe"'),
            "overlong": body_with('"user":"').replace(b'"user":"', b'"user":"\xc0\xaf"'),
            "cut": body_with('"user":"').replace(b'"user":"', b'"user":"\xe2\x82"'),
            "utf-16": chat_body(MODEL).decode().encode("utf-16"),
            "utf-8 surrogate": body_with('"user":"\ud800"'),
        },
        400,
        {"invalid_json"},
    )


async def test_F49_numbers_that_are_none(world: Scene) -> None:
    bodies = {}
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "nan", "1.", ".5", "0x10"):
        bodies[number] = body_with(f'"temperature":{number}')
        bodies[number + " inside"] = body_with(f'"x":{{"a":[1,{number}]}}')
    await check(world, bodies, 400, {"invalid_json"})


async def test_F50_lone_surrogates(world: Scene) -> None:
    bodies = {}
    for text in ("\\ud800", "\\udfff", "a\\ud83db", "\\ude00\\ud83d"):
        bodies[text] = body_with(f'"user":"{text}"')
        bodies[text + " key"] = body_with(f'"{text}":1')
        bodies[text + " content"] = chat_body(MODEL).replace(b"hello", text.encode())
    await check(world, bodies, 400, {"invalid_json"})


async def test_F51_keys_given_twice(world: Scene) -> None:
    filler = '"x":"' + "y" * 70_000 + '",'
    await check(
        world,
        {
            "plain": body_with('"max_tokens":1,"max_tokens":999999'),
            "same value": body_with('"max_tokens":1,"max_tokens":1'),
            "escaped": body_with('"max_tokens":1,"max_\\u0074okens":999999'),
            "model": body_with(f'"model":"{MODEL}"'),
            "nested": body_with('"x":{"a":[{"b":1,"b":2}]}'),
            "in a message": chat_body(MODEL).replace(b'"role"', b'"role":"system","role"'),
            "spaced": body_with('"max_tokens" : 1, "max_tokens"\t:\n2'),
            "hidden by text": body_with('"t":"\\":\\":","max_tokens":1,"max_tokens":2'),
            "in a large body": body_with(filler + '"max_tokens":1,"max_tokens":999999'),
        },
        400,
        {"duplicate_key"},
    )


async def test_F52_limits_that_are_no_positive_integers(world: Scene) -> None:
    values = ("-1", "0", "true", "false", '"12"', "12.0", "1e3", "1E3", "[]", "{}", "2147483648")
    bodies = {}
    for field in ("max_tokens", "max_completion_tokens", "n", "best_of"):
        for value in values:
            bodies[f"{field}={value}"] = body_with(f'"{field}":{value}')
    await check(world, bodies, 400, {"invalid_request"})
    large = {"10^30": body_with('"max_tokens":1' + "0" * 30)}
    account = world.accounts[0]
    answer = await send(world, account, large["10^30"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
    assert world.sandbox.requests == 0


# ------------------------------------------------------------------ F56


async def test_F56_names_that_are_no_model(world: Scene) -> None:
    account = await world.account()
    names = [
        "ｓandbox/echo", "sandbox/ech\u200bo", "s\u0430ndbox/echo", "sandbox/echo ",
        " sandbox/echo",
        "sandbox/../sandbox/echo", "../echo", "sandbox/echo\u0000", "sandbox/" + "e" * 10_240,
        'sandbox/"echo"', "sandbox/echo'--", "sandbox/echo\r\nx-evil: 1", "SANDBOX/ECHO\u0130",
        "sandbox/mock\u0000-n2", "оpenai/gpt-4o", "%73andbox/echo",
        "sandbox/echo?x=1", "sandbox//echo", "\u202eohce/xobdnas",
    ]  # fmt: skip
    for name in names:
        for path in ("/v1/chat/completions", "/api/v1/chat/completions"):
            answer = await world.post(account, name, path=path)
            assert answer.status_code == 404, name
            error = answer.json()["error"]
            assert (error["metadata"] if path.startswith("/api") else error)["code"] == (
                "model_not_found"
            )
            assert answer.text.isascii() and "\\u0000" not in answer.text
            shown = error["message"].split("'")[1] if "'" not in name else ""
            assert len(shown) <= 64 and shown.isascii()
            assert "x-evil" not in answer.headers
    for value in (None, 7, ["sandbox/echo"], {"id": "sandbox/echo"}, "", True):
        answer = await send(world, account, orjson.dumps({"model": value, "messages": MESSAGES}))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    assert await world.depth() == 0 and not world.holds(account)
    assert world.sandbox.requests == 0


# ------------------------------------------------------------------ F57, F58


async def test_F57_framing_that_contradicts_itself_is_refused(world: Scene) -> None:
    account = await world.account()
    body = chat_body(MODEL)
    size = len(body)
    smuggled = b"0\r\n\r\nGET /v1/credits HTTP/1.1\r\nhost: x\r\n\r\n"
    for headers, content in (
        ((f"content-length: {size}", f"content-length: {size + 1}"), body),
        ((f"content-length: {size}", "content-length: 0"), body),
        (("content-length: 6", "transfer-encoding: chunked"), smuggled),
        (("transfer-encoding: chunked", f"content-length: {size}"), smuggled),
        ((f"content-length: +{size}",), body),
        ((f"content-length: {size}, {size + 1}",), body),
        (("content-length: -1",), body),
        (("transfer-encoding: chunked, identity",), smuggled),
    ):
        call = await RawCall(world).open(http_request(account, content, *headers))
        said = await call.rest()
        assert said.count(b"HTTP/1.1 200") == 0, (headers, said)
        assert said == b"" or said.startswith(b"HTTP/1.1 4"), (headers, said)
    for header in (
        "x-bad header: 1",
        "x-request-id: a\0b",
        "bad\x01name: 1",
        "x-request-id: a\nb: c\x01",
    ):
        call = await RawCall(world).open(http_request(account, body, header))
        assert (await call.rest()).startswith(b"HTTP/1.1 400"), header
    await world.quiet()


async def test_F57_nothing_of_the_callers_headers_reaches_an_upstream(world: Scene) -> None:
    account = await world.account()
    canary = "canary-7f3a"
    headers = {
        "host": f"{canary}.test", "x-forwarded-for": canary, "x-forwarded-host": canary,
        "x-forwarded-proto": canary, "forwarded": f"for={canary}", "via": canary, "te": "trailers",
        "connection": f"keep-alive, {canary}", "proxy-authorization": canary, "cookie": canary,
        "x-gateway-account": canary, "x-gatewayz-provider": canary, "x-api-base": canary,
        "x-real-ip": canary, "openai-organization": canary, "user-agent": canary,
        "accept-encoding": "gzip, br", "x-http-method-override": "DELETE", "expect": "",
        "x-title": canary, "http-referer": canary, "x-request-id": canary, canary: canary,
    }  # fmt: skip
    del headers["expect"]
    for stream in (False, True):
        lines = [f"{name}: {value}" for name, value in headers.items() if name != "host"]
        call = await RawCall(world).open(
            http_request(account, chat_body(MODEL, stream=stream), *lines)
        )
        await call.until(b"[DONE]" if stream else b'"usage"')
        assert f"x-request-id: {canary}".encode() in call.text.lower()
        call.leave()
        sent = world.sandbox.last_headers["mock-n2"]
        assert set(sent) <= OUTGOING, set(sent) - OUTGOING
        assert canary not in str(sent) and account.key not in str(sent)
        assert sent["accept-encoding"] == "identity"
    assert await _accounts_charged(world, account) == {account.id}


async def _accounts_charged(world: Scene, account: Account) -> set[str]:
    await world.quiet()
    await world.settle()
    return {row["account"] for row in await world.sql("select account from ledger.charges")}


async def test_F58_fields_that_would_steer_the_connection_are_dropped(world: Scene) -> None:
    account = await world.account()
    evil = "http://169.254.169.254/"
    fields = {
        "api_base": evil, "base_url": evil, "api_key": "sk-evil", "extra_headers": {"x": evil},
        "extra_body": {"api_base": evil}, "extra_query": {"a": evil}, "headers": {"host": evil},
        "provider": {"url": evil, "order": ["openai"]}, "proxy": evil, "api_type": "azure",
        "api_version": "1", "organization": "o", "custom_llm_provider": "x", "timeout": 1,
        "mock_response": "free", "fallbacks": [evil], "model_list": [evil], "aws_region": evil,
        "azure_endpoint": evil, "vertex_project": evil, "models": ["a/b"], "route": "fallback",
        "usage": {"include": True}, "transforms": [], "plugins": [], "debug": True,
        "account": "acct_2", "user_id": "x", "cost": 0, "price": 0,
    }  # fmt: skip
    answer = await send(world, account, chat_body(MODEL, **fields))
    assert answer.status_code == 200
    sent: dict[str, Any] = world.sandbox.last_body["mock-n2"]
    # Unknown fields travel; those that a gateway or client library obeys do not.
    assert set(sent) <= {"model", "messages", "account", "user_id", "cost", "price"}
    assert "169.254" not in orjson.dumps(sent).decode()
    assert (sent["model"], sent["messages"]) == ("mock-n2", MESSAGES)
    assert "169.254" not in str(world.sandbox.last_headers["mock-n2"])
    assert await _accounts_charged(world, account) == {account.id}
    assert await world.charged(account) > 0
    await reached(lambda: world.sandbox.requests == 1)
