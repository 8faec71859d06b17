"""Keys, prompts and card numbers stay where they belong, whatever goes wrong (F88, F89)."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from gatewayz.core.ids import new_id, new_request_id
from gatewayz.core.log import redact
from gatewayz.providers.client import ProviderClient
from tests.fakes.upstream import Act, RawRequest, RawUpstream, Step, answer, event_stream
from tests.faults.scene import Links, RawCall, Scene, http_request, reached

CARD = "4242424242424242"
PROMPT = "the canary sings of Quetzalcoatl"
CREDENTIAL = "AbCdEf0123456789GhIjKl"
MESSAGES = [{"role": "user", "content": f"{PROMPT} {CARD}"}]
PROVIDERS = """
[raw]
name = "Raw"
dialect = "openai_chat"
base_url = "{raw}/v1"
credential = "TEST_RAW_KEY"
auth = "header:x-goog-api-key"
local = true
timeouts = {{ first_token_s = 0.3, idle_s = 0.3, total_s = 0.3 }}
[[models]]
id = "raw/*"
provider = "raw"
native_id = "*"
input = 0.5
output = 1.5
"""


@pytest.fixture
def providers_file(raw: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEST_RAW_KEY", CREDENTIAL)
    file = tmp_path / "providers.toml"
    file.write_text(PROVIDERS.format(raw=raw.url))
    return str(file)


def _play(request: RawRequest) -> list[Step]:
    """Fails in the way its model says, telling everything it knows."""
    said = orjson.dumps({"error": {"message": request.body.decode(), "code": PROMPT}})
    wide = orjson.dumps({"error": {"message": str(request.headers), "type": PROMPT}})
    plays: dict[str, list[Step]] = {
        "cut": [event_stream(), b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n', Act.CUT],
        "hang": [Act.HANG],
        "nonsense": [event_stream(), b"data: " + request.body[:-1] + b"\n\n"],
        "inside": [event_stream(), b"data: " + said + b"\n\n"],
        "headers": [answer(wide, status="401 No")],
    }
    name: str = request.json["model"]
    return plays.get(name) or [answer(said, status=f"{name} No")]


CAREFUL = ("404", "429", "500", "503", "401", "cut", "hang", "nonsense", "inside", "headers")
# The provider's reason goes to the caller, whose words it may repeat; nowhere else.
RELAYED = ("400", "413", "422")


async def _act(world: Scene, links: Links, account: Any) -> list[str]:
    """Many requests that carry the canaries, well and badly; the texts of all failures."""
    failures: list[str] = []
    whole = orjson.dumps({"model": "sandbox/mock-n2", "messages": MESSAGES})
    fields = {"user": PROMPT, "session_id": PROMPT, "metadata": {"x": PROMPT}}

    async def post(model: str, who: Any = account, **body: Any) -> None:
        body = {"messages": MESSAGES} | body
        got = await world.post(who, model, **body)
        if got.status_code != 200:
            failures.append(got.text)
        assert body.pop("_status", got.status_code) == got.status_code

    for stream in (False, True):
        for model in ("echo", "mock-n3", "mock-n3-nousage", "mock-n5-cut2", "mock-n5-badjson2",
                      "mock-n5-errin2", "mock-err500", "mock-reset", "mock-html", "mock-empty",
                      "mock-silent", "mock-n3-usage.neg"):  # fmt: skip
            await post(f"sandbox/{model}", stream=stream, **fields)
        for model in CAREFUL:
            await post(f"raw/{model}", stream=stream)
        for model in RELAYED:
            before = len(failures)
            await post(f"raw/{model}", stream=stream)
            assert len(failures) == before + 1
            assert CREDENTIAL not in failures.pop()
    poor = await world.account(usd=0)
    await post("sandbox/mock-n2", who=poor)
    await post("no/such-model")
    await post("sandbox/mock-n2", temperature=PROMPT)
    await post("sandbox/mock-n2", messages=[{"role": PROMPT, "content": CARD}])
    await post("sandbox/mock-n2", messages=PROMPT)
    for raw in (whole[:-1], whole[:-1] + b',"x":NaN}', whole[:-1] + b',"model":"x"}', b"[" * 999):
        got = await world.client.post("/v1/chat/completions", content=raw, headers=account.headers)
        assert got.status_code == 400
        failures.append(got.text)
    for headers in ({"authorization": f"Bearer {account.key}x"}, {"x-api-key": account.key[:-1]}):
        got = await world.client.post("/v1/chat/completions", content=whole, headers=headers)
        assert got.status_code == 401
        failures.append(got.text)
    for path in ("/v1/generation?id=gen-x", f"/v1/{account.key}", "/v1/key", "/v1/credits"):
        got = await world.client.get(path, headers=account.headers)
        if got.status_code != 200:
            failures.append(got.text)

    call = await RawCall(world).open(http_request(account, whole))
    await call.until(b'"usage"')
    call.leave()
    running = asyncio.create_task(
        world.stream(account, "sandbox/mock-n2-lockstep.F88", messages=MESSAGES)
    )
    await reached(lambda: "mock-n2-lockstep.F88" in world.sandbox.models)
    _scan(world, account, failures, await _tables(world))  # while a hold is there
    await world.released("F88", 2)
    await running
    links.postgres.down()
    await post("sandbox/mock-n2", stream=True)  # through the outbox
    await post("sandbox/mock-n2", who=poor)
    links.postgres.up()
    links.redis.down()
    await post("sandbox/mock-n2")  # through a private lease
    links.redis.up()
    return failures


async def _tables(world: Scene) -> str:
    """Everything the database holds, as text."""
    names = await world.sql(
        "select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables "
        "where schemaname not in ('pg_catalog', 'information_schema')"
    )
    assert len(names) > 10
    parts = []
    for row in names:
        rows = await world.sql(f"select t::text as row from {row['name']} as t")
        parts += [r["row"] for r in rows]
    return "\n".join(parts)


def _redis(world: Scene) -> str:
    """Everything Redis holds, as text."""
    parts = []
    with world.redis() as client:
        for key in client.scan_iter():
            parts.append(key)
            kind = client.type(key)
            if kind == "string":
                parts.append(client.get(key))
            elif kind == "hash":
                parts.append(str(client.hgetall(key)))
            elif kind == "list":
                parts.append(str(client.lrange(key, 0, -1)))
            elif kind == "set":
                parts.append(str(client.smembers(key)))
            else:
                assert kind == "zset", (key, kind)
                parts.append(str(client.zrange(key, 0, -1)))
    return "\n".join(str(part) for part in parts)


def _scan(world: Scene, account: Any, failures: list[str], tables: str) -> None:
    body = account.key.rpartition("_")[2]
    places = {
        "logs": world.logs.getvalue(),
        "failures": "\n".join(failures),
        "tables": tables,
        "redis": _redis(world),
    }
    for name, text in places.items():
        assert len(text) > 100, name
        for canary in (PROMPT, "Quetzalcoatl", CARD, CREDENTIAL, body, body[:20], body[-20:]):
            at = text.find(canary)
            assert at < 0, (name, canary, text[max(0, at - 200) : at + 100])


async def test_F88_no_canary_leaves_its_request(
    world: Scene, links: Links, raw: RawUpstream
) -> None:
    raw.play = _play
    account = await world.account(usd=100)
    failures = await _act(world, links, account)
    assert len(failures) > 30
    await world.quiet()
    _scan(world, account, failures, await _tables(world))
    await world.settle()
    await world.sweep()
    _scan(world, account, failures, await _tables(world))
    rows = await world.requests(account)
    assert len(rows) > 45 and any(row["end_user"] for row in rows)


@pytest.mark.audited(crashes=2)
async def test_F89_an_exception_that_tells_a_key_is_redacted(
    world: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError(
            f"GET https://api.test/v1/x?alt=sse&key={CREDENTIAL}&a=1 failed; "
            f"Authorization: Bearer {CREDENTIAL}; postgresql://user:{CREDENTIAL}@db/x"
        )

    monkeypatch.setattr(ProviderClient, "send", explode)
    monkeypatch.setattr(ProviderClient, "open", explode)
    account = await world.account()
    for stream in (False, True):
        got = await world.post(account, "sandbox/mock-n2", stream=stream)
        assert got.status_code == 500
        error = got.json()["error"]
        assert (error["code"], error["param"]) == ("internal_error", None)
        assert "api.test" not in got.text and CREDENTIAL not in got.text
    lines = world.logs.lines("request_crashed")
    assert [line["error"] for line in lines] == ["RuntimeError"] * 2
    assert all("explode" in line["trace"] for line in lines)
    assert CREDENTIAL not in world.logs.getvalue()
    rows = await world.settled(account)
    assert [(row["outcome"], row["charge_nanos"]) for row in rows] == [("failed", 0)] * 2


async def test_F89_a_credential_travels_in_a_header_never_in_a_url(
    world: Scene, raw: RawUpstream
) -> None:
    raw.play = _play
    account = await world.account()
    assert (await world.post(account, "raw/429")).status_code == 429
    (request,) = raw.requests
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    assert request.headers["x-goog-api-key"] == CREDENTIAL
    assert "authorization" not in request.headers and CREDENTIAL.encode() not in request.body


def test_F89_redaction_leaves_our_own_ids_alone() -> None:
    """An operator finds a request by its id, and evidence of money must stay whole (D7)."""
    for _ in range(2000):
        for text in (new_request_id(), new_id("op_"), f'{{"request_id":"{new_request_id()}"}}'):
            assert redact(text) == text
