"""The public failoverbench's sixteen cases through our gateway; prints the table of verdicts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scene import Scene
from tests.routing.failoverbench import OK, Profile, Wall, client, run_all, run_flap, table

ROW = """
[wall]
name = "Wall"
dialect = "openai_chat"
base_url = "{url}/v1"
local = true
timeouts = {{ first_token_s = 0.4, idle_s = 0.4, total_s = 0.4 }}
"""
MODEL = """
[[models]]
id = "{name}"
[[models.offers]]
provider = "{provider}"
native_id = "{name}"
input = {usd}
output = {usd}
"""
# Each case is a provider of its own: no breaker that one opens closes another's.
NAMES = [f"fb-s{number:02}" for number in range(1, 17)]


@pytest.fixture
def wall() -> Iterator[Wall]:
    made = Wall(Profile())
    yield made
    made.stop()


@pytest.fixture
def providers_file(wall: Wall, tmp_path: Path) -> str:
    text = ""
    for name in (*NAMES, OK, "fb-ok-noprefill"):
        provider = f"wall-{name}"
        text += ROW.format(url=wall.upstream.url).replace("[wall]", f"[{provider}]")
        text += MODEL.format(name=name, provider=provider, usd=2 if name.startswith("fb-ok") else 1)
    # Where an answer goes on is the same model at another host, which refuses prefill.
    for name in ("fb-s08", "fb-s14"):
        host = f"second-{name}"
        text += ROW.format(url=wall.upstream.url).replace("[wall]", f"[{host}]")
        offer = f'\n[[models.offers]]\nprovider = "{host}"\nnative_id = "fb-ok-noprefill"\n'
        cut = f'native_id = "{name}"\ninput = 1\noutput = 1\n'
        text = text.replace(cut, f"{cut}{offer}input = 2\noutput = 2\n")
    file = tmp_path / "providers.toml"
    file.write_text(text)
    return str(file)


# Where our verdict is not "pass", the reason:
EXPECTED = {
    # The next offer answers at once instead of after the wait: nobody waits, nobody is hammered.
    "S01": ("partial", ("retried", "retry_after_honoured")),
    "S03": ("partial", ("same_provider_retry",)),
    # Without the opt-in a cut stream ends as one.
    "S08": ("safe", ()),
    "S09": ("safe", ()),
    "S10": ("safe", ()),
    "S14": ("safe", ()),
    # The request lists another model, which may answer what this one refuses.
    "S13": ("partial", ("routed_around",)),
}


async def test_the_sixteen_cases_of_failoverbench(world: Scene, wall: Wall) -> None:
    account = await world.account(usd=10)
    order = [f"wall-{name}" for name in NAMES]
    extra = {"provider": {"order": order, "fallback_max_price_ratio": "any"}}
    ask = client(world.client, "/v1/chat/completions", account.headers, extra=extra)
    runs = await run_all(wall, ask)
    print("\n" + "\n".join(table(runs)))
    found = {run.case.id: (run.verdict, run.failed) for run in runs}
    assert {k: v for k, v in found.items() if v != ("pass", ())} == EXPECTED
    _the_money_is_right(await world.settled(account), 2 * len(runs))


def _the_money_is_right(rows: list[dict[str, Any]], count: int) -> None:
    """Nobody pays for a failed attempt: each charge is of the offer that answered, once."""
    assert len(rows) == count
    for row in rows:
        if row["outcome"] == "completed" and len(row["lines"]) == 2:
            usd = 2 if row["provider"].startswith(("wall-fb-ok", "second-")) else 1
            assert row["charge_nanos"] == 81 * usd * 1000, row
        assert row["outcome"] in ("completed", "cut") or row["charge_nanos"] == 0


async def test_S15_a_provider_that_comes_back_is_gone_back_to(
    world: Scene, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayz.routing.board.FRESH_S", -1.0)
    account = await world.account(usd=10)
    ask = client(world.client, "/v1/chat/completions", account.headers)

    async def recover() -> None:
        with world.redis() as redis:
            redis.delete(*redis.keys("brk:*"))
        world.chat.gateway().board._scopes.clear()
        world.chat.gateway().board._entries.clear()

    flap = await run_flap(wall, ask, recover)
    print(f"\nS15: {flap}")
    assert flap.served == 10 and flap.asked <= 5, "the breaker opened"
    assert flap.back_after is not None and flap.back_after <= 2
