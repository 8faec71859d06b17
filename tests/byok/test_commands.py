"""`gatewayz ring` and `gatewayz notices` as an operator uses them."""

import asyncio
import json

import pytest

from gatewayz.accounts.provider_keys import ProviderKeys
from gatewayz.accounts.sealing import RING, new_ring, read_ring
from gatewayz.cli import notices, ring
from gatewayz.core.settings import load_settings
from gatewayz.local.errors import LocalError
from gatewayz.stores.open import Stores, open_stores


@pytest.fixture
def kept(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An account with a provider key, sealed under this ring, and a letter that is dead."""
    made = new_ring()
    for name, value in {**environment, RING: made}.items():
        monkeypatch.setenv(name, value)

    async def nobody(account: str, epoch: int) -> None:
        pass

    async def fill(stores: Stores) -> None:
        rpc = stores.postgres.rpc
        await rpc("open_account", {"account": "ann", "name": "Ann", "stage": "test"})
        keys = ProviderKeys(stores.postgres, nobody, "ann", "system")
        await keys.add("openai", "sk-a-key-of-anns-0123", {}, read_ring(made))
        said = {"kind": "invitation", "once": "i", "account": "ann", "email": "a@b.example"}
        await rpc("enqueue_notice", said | {"data": {}})
        await rpc("enqueue_notice", {**said, "kind": "test", "once": "t", "data": {"a": "b"}})
        for row in await rpc("take_notices", {}):
            await rpc("end_notice", {"id": row["id"], "outcome": "failed", "most_tries": 1})

    _with_stores(fill, environment)
    return made


def _with_stores(work: object, environment: dict[str, str]) -> None:
    async def run() -> None:
        stores = open_stores(load_settings(environment))
        try:
            await work(stores)  # type: ignore[operator]
        finally:
            await stores.close()

    asyncio.run(run())


def test_a_ring_is_made_changed_and_everything_sealed_under_the_new_key(
    kept: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.new()
    printed = capsys.readouterr().out.strip()
    assert printed.endswith(kept)
    assert read_ring(printed).current == 2
    monkeypatch.setenv(RING, printed)
    ring.reseal_all()
    assert "1 provider keys are sealed anew" in capsys.readouterr().out
    ring.reseal_all()
    assert "0 provider keys are sealed anew" in capsys.readouterr().out


def test_what_no_key_of_the_ring_opens_ends_the_command(
    kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RING, new_ring(new_ring()))
    with pytest.raises(LocalError, match="1 could not be opened"):
        ring.reseal_all()


def test_a_damaged_ring_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RING, "1:secret-but-short")
    with pytest.raises(LocalError, match=RING) as refused:
        ring.new()
    assert "secret-but-short" not in str(refused.value)


def test_dead_letters_are_shown_and_revived(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    notices.show()
    shown = json.loads(capsys.readouterr().out)
    assert (shown["dead"], shown["kinds"]["test"]) == (2, {"dead": 1})
    notices.revive("test")
    assert capsys.readouterr().out == "1 letters are tried again.\n"
