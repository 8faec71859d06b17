"""Keys of an older system: brought over whole or hashed, upgraded when they are first used."""

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.accounts.keys import hash_key
from gatewayz.cli.legacy import import_keys
from gatewayz.core.settings import Settings
from gatewayz.local.errors import LocalError
from tests.world import Account, World

SALT = "salt-of-the-older-system"
WHOLE = "gw_live_" + "a1B2-c3D4_" * 4 + "xyz"
HASHED = "gw_live_" + "Z9y8-X7w6_" * 4 + "abc"
DIGEST = hashlib.sha256((SALT + HASHED).encode()).hexdigest()


@pytest.fixture
def tune() -> Any:
    def with_salt(settings: Settings) -> Settings:
        return replace(settings, keys=replace(settings.keys, legacy_salt=SALT))

    return with_salt


@pytest.fixture
def bring(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Import these lines, as the command does."""

    def run(*lines: str, salt: str = SALT) -> None:
        for name, value in (environment | {"GATEWAYZ_LEGACY_KEY_SALT": salt}).items():
            monkeypatch.setenv(name, value)
        file = tmp_path / "keys.csv"
        file.write_text("\n".join(("account,name,key,sha256", *lines)) + "\n")
        import_keys(file)

    return run


async def status(world: World, key: str) -> int:
    answer = await world.post(Account("", key, ""))
    return int(answer.status_code)


async def test_both_kinds_work_and_a_hash_is_upgraded_at_its_first_use(
    world: World, bring: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = await world.account()
    lines = (f"{owner.id},old site,{WHOLE},", f"{owner.id},old app,,{DIGEST}")
    await asyncio.to_thread(bring, *lines)
    assert "Brought 2 keys over; 0 were" in capsys.readouterr().out
    rpc = world.stores.postgres.rpc
    ours = hash_key(HASHED.encode(), world.settings.keys.pepper.encode()).hex()
    assert await rpc("find_principal", {"hash": ours}) is None
    assert [await status(world, key) for key in (WHOLE, HASHED, HASHED)] == [200, 200, 200]
    assert (await rpc("find_principal", {"hash": ours}))["name"] == "old app"
    assert await rpc("find_principal", {"hash": DIGEST}) is None
    await asyncio.to_thread(bring, *lines)
    assert "Brought 0 keys over; 2 were" in capsys.readouterr().out
    actions = [row["action"] for row in await rpc("list_audit", {"account": owner.id})]
    assert actions[:3] == ["key.upgraded", "key.imported", "key.imported"]
    shown = str(await rpc("read_keys", {"account": owner.id}))
    assert WHOLE not in shown
    assert HASHED not in shown


async def test_the_hash_itself_and_other_guesses_are_no_keys(world: World, bring: Any) -> None:
    owner = await world.account()
    await asyncio.to_thread(bring, f"{owner.id},old app,,{DIGEST}")
    for guess in (DIGEST, HASHED[:-1], HASHED + "d", "short"):
        assert await status(world, guess) == 401
    rows = await world.stores.postgres.rpc("read_keys", {"account": owner.id})
    gone = {"account": owner.id, "key_id": rows[-1]["key_id"], "actor": "test"}
    await world.stores.postgres.rpc("delete_key", gone)
    assert await status(world, HASHED) == 401


async def test_many_first_uses_at_once_find_one_key(world: World, bring: Any) -> None:
    owner = await world.account()
    await asyncio.to_thread(bring, f"{owner.id},old app,,{DIGEST}")
    answers = await asyncio.gather(*(status(world, HASHED) for _ in range(8)))
    assert answers == [200] * 8
    rows = await world.stores.postgres.rpc("list_audit", {"account": owner.id})
    assert [row["action"] for row in rows].count("key.upgraded") == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f",x,{WHOLE},", "Line 2"),
        ("ann,x,,", "Line 2"),
        (f"ann,x,{WHOLE},{DIGEST}", "Line 2"),
        ("ann,x,short,", "line 2"),
        ("ann,x,,abc", "line 2"),
    ],
)  # fmt: skip
def test_a_line_that_says_no_key_stops_before_anything_is_stored(
    bring: Any, line: str, said: str
) -> None:
    with pytest.raises(LocalError, match=said) as refused:
        bring(line)
    assert WHOLE not in str(refused.value)


def test_hashes_without_their_salt_are_refused(bring: Any) -> None:
    with pytest.raises(LocalError, match="GATEWAYZ_LEGACY_KEY_SALT"):
        bring(f"ann,x,,{DIGEST}", salt="")
