"""Receipts: what is signed, what breaks it, and the chain that no link may leave."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest
from gatewayz.core.settings import SettingsError
from gatewayz.usage.receipts import Signer, _decode, _encode, verify, verify_chain
from tests.contract.ledger.conftest import Ledger
from tests.usage.day import day, open_day, settle_day

PEPPER = "pepper-pepper-pepper-pepper-pepper"


async def signed(ledger: Ledger, signer: Signer, request_id: str) -> Any:
    found = await ledger.rpc("find_receipt", account="ann", request_id=request_id)
    return found | {"jws": signer.sign(found["text"])}


async def test_a_chain_has_every_settled_request_in_the_order_of_posting(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(60))
    await settle_day(used, messages)
    signer = Signer("", PEPPER)
    verdicts = [
        verify((await signed(used, signer, m["request_id"]))["jws"], signer.keys) for m in messages
    ]
    assert all(verdict.valid for verdict in verdicts)
    assert sorted(v.receipt["number"] for v in verdicts) == list(range(1, 61))
    assert verify_chain(verdicts) == []
    assert sum(v.receipt["charge_nanos"] for v in verdicts) == sum(
        m["charge_nanos"] for m in messages
    )


async def test_a_row_that_was_changed_no_longer_fits_its_hash(used: Ledger) -> None:
    await open_day(used)
    (message,) = day(1)
    await settle_day(used, [message])
    signer = Signer("", PEPPER)
    assert (await signed(used, signer, message["request_id"]))["intact"]
    async with used.undone():
        await used.connection.execute("update ledger.requests set model = 'another/model'")
        assert not (await signed(used, signer, message["request_id"]))["intact"]


def receipt(**fields: Any) -> str:
    made = {
        "v": 1, "number": 1, "previous": "0" * 64, "account": "ann",
        "lines": [["output", 10, 1_000_000]], "cap_nanos": None, "charge_nanos": 10,
    }  # fmt: skip
    return orjson.dumps(made | fields).decode()


def test_what_was_not_signed_by_us_is_not_valid() -> None:
    signer, other = Signer("", PEPPER), Signer("", "another pepper of at least 32 characters")
    jws = signer.sign(receipt())
    assert verify(jws, signer.keys).valid
    assert verify(jws, other.keys).problems == ("its key is none of the published ones",)
    forged = {**other.keys[0], "kid": signer.keys[0]["kid"]}
    assert verify(jws, [forged]).problems == ("its signature is not over this text",)
    head, _, signature = jws.split(".")
    cheaper = _encode(receipt(charge_nanos=9, cap_nanos=9).encode())
    assert not verify(f"{head}.{cheaper}.{signature}", signer.keys).valid
    unsigned = orjson.loads(_decode(head)) | {"alg": "none"}
    naked = f"{_encode(orjson.dumps(unsigned))}.{_encode(receipt().encode())}."
    assert not verify(naked, signer.keys).valid


def test_a_charge_must_follow_from_its_lines() -> None:
    signer = Signer("", PEPPER)
    assert not verify(signer.sign(receipt(charge_nanos=11)), signer.keys).valid
    assert verify(signer.sign(receipt(charge_nanos=7, cap_nanos=7)), signer.keys).valid


def test_a_chain_tells_what_is_missing_between_neighbours() -> None:
    signer = Signer("", PEPPER)
    first = verify(signer.sign(receipt()), signer.keys)
    second = verify(signer.sign(receipt(number=2, previous=first.hash)), signer.keys)
    stray = verify(signer.sign(receipt(number=2, previous="1" * 64)), signer.keys)
    foreign = verify(signer.sign(receipt(number=2, account="bob")), signer.keys)
    assert verify_chain([second, first]) == []
    assert verify_chain([first, stray]) == ["number 2 does not follow 1"]
    assert verify_chain([first, foreign]) == ["they are of different accounts"]
    assert verify_chain([second, stray]) == ["there are two of number 2"]


def test_a_former_key_still_verifies_what_it_signed() -> None:
    old = Signer("", PEPPER)
    new = Signer(_encode(b"s" * 32), PEPPER, old.keys[0]["x"])
    assert verify(old.sign(receipt()), new.keys).valid
    assert verify(new.sign(receipt()), new.keys).valid
    assert new.keys[0]["kid"] != old.keys[0]["kid"]


@pytest.mark.parametrize("seed", ["short", "%%%", _encode(b"s" * 31)])
def test_a_key_that_is_none_is_refused_at_start(seed: str) -> None:
    with pytest.raises(SettingsError):
        Signer(seed, PEPPER)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "e30.e30.e30", "e30.W10.e30"])
def test_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        verify(text, Signer("", PEPPER).keys)
