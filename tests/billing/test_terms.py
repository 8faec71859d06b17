"""What needs no store: signatures to the second, addresses to return to, what a payment buys."""

import hashlib
import hmac
from dataclasses import replace
from decimal import Decimal

import pytest

from gatewayz.billing.plans import (
    load_plans,
    markup_of_plan,
    plan_of_price,
    read_markups,
    read_prices,
)
from gatewayz.billing.returns import return_url
from gatewayz.billing.stripe.facts import intent_of
from gatewayz.billing.stripe.inbox import essence
from gatewayz.billing.stripe.orders import quote
from gatewayz.billing.stripe.signature import signed, split_secrets
from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.errors import InvalidRequest
from gatewayz.core.settings import SettingsError

NOW_S, BODY, SECRET = 1_800_000_000, b'{"id":"evt_1"}', "whsec_a"
CENT = 10**7


# --------------------------------------------------------------------- signatures


def made(at_s: int = NOW_S, body: bytes = BODY, secret: str = SECRET) -> str:
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"v1={digest}"


def fits(header: str, secrets: tuple[str, ...] = (SECRET,), body: bytes = BODY) -> bool:
    return signed(body, header, secrets, now_s=NOW_S)


def test_F75_a_signature_is_good_for_five_minutes_to_either_side() -> None:
    for age_s, good in ((0, True), (300, True), (-300, True), (301, False), (-301, False)):
        at_s = NOW_S - age_s
        assert fits(f"t={at_s},{made(at_s)}") is good, age_s


def test_F75_any_candidate_and_either_secret_will_do() -> None:
    assert fits(f"t={NOW_S},v1=00,{made()}")
    assert fits(f"t={NOW_S}, {made()} ,v1=00")
    assert fits(f"t={NOW_S},{made(secret='whsec_b')}", ("whsec_b", SECRET))
    assert fits(f"t={NOW_S},{made(secret='whsec_b')}", (SECRET, "whsec_b"))
    assert fits(f"t={NOW_S},{made(secret='whsec_b')}", ("", "whsec_b"))
    assert not fits(f"t={NOW_S},{made(secret='whsec_c')}", (SECRET, "whsec_b"))


@pytest.mark.parametrize(
    "header",
    [
        "", made(), f"t={NOW_S}", f"t=,{made()}", f"t=x,{made()}", f"t=-{NOW_S},{made()}",
        f"t={NOW_S}.0,{made()}", f"t={'0' * 20}{NOW_S},{made()}", f"t={NOW_S},v0={made()[3:]}",
        f"t={NOW_S},v1=", f"t={NOW_S},v1={'0' * 64}", f"t={NOW_S},{made().upper()}",
        f"t={NOW_S - 1},{made()}", f"t={NOW_S},{made(secret='')}",
        f"t={NOW_S}," + ",".join(["v1=0"] * 15) + f",{made()}",
        f"t=١{NOW_S},{made()}",
    ],
)  # fmt: skip
def test_F75_everything_else_is_forged(header: str) -> None:
    assert not fits(header)


def test_F75_other_bytes_and_an_empty_secret_are_forged() -> None:
    assert not fits(f"t={NOW_S},{made()}", body=BODY + b" ")
    assert not fits(f"t={NOW_S},{made(secret='')}", ("",))
    assert not fits(f"t={NOW_S},{made(secret='')}", ())
    # As many candidates as a header may have, and no more.
    fifteen = f"t={NOW_S}," + ",".join(["v1=0"] * 14) + f",{made()}"
    assert fits(fifteen)


def test_secrets_are_split_and_empty_ones_are_none() -> None:
    assert split_secrets("new,old") == ("new", "old")
    assert split_secrets(" new , ") == ("new",)
    assert split_secrets(None) == split_secrets("") == split_secrets(" , ") == ()


# ------------------------------------------------------------------------- returns

HOME = "https://app.example"
SETTINGS = replace(BillingSettings(), app_url=HOME + "/", return_hosts="shop.example www.example")


@pytest.mark.parametrize(
    "given",
    [
        HOME + "/ok", HOME, HOME.upper() + "/ok", "https://shop.example/x?y={CHECKOUT_SESSION_ID}",
        "https://www.example/#a", "https://APP.example/x", "https://shop.example",
    ],
)  # fmt: skip
def test_F65_hosts_of_ours_are_returned_to(given: str) -> None:
    assert return_url(given, "/default", SETTINGS) == given


@pytest.mark.parametrize(
    "given",
    [
        None, "", "//evil.example", "https://evil.example", "https://app.example@evil.example",
        "https://evil.example/https://app.example", "javascript:alert(1)", "data:text/html,x",
        "http://app.example/ok", "http://shop.example", "https://app.example.evil.example",
        "https://app.example:8443/", "https://shop.example:443/", "https://shop.example:x/",
        "https://a@shop.example/", "/ok", "ok", "https:///ok", "ftp://app.example/",
        "https://app.example\\@evil.example", "https://app.example/\n", "https://app.exam ple/",
        "https://app.example/\té", "https://[::1", "https://app.example/" + "x" * 2000,
    ],
)  # fmt: skip
def test_F65_everything_else_is_replaced(given: str | None) -> None:
    assert return_url(given, "/default", SETTINGS) == HOME + "/default"


def test_F65_on_ones_own_machine_http_will_do_and_only_there() -> None:
    local = replace(SETTINGS, app_url="http://127.0.0.1:8000", return_hosts="localhost")
    assert return_url("http://127.0.0.1:8000/ok", "/x", local) == "http://127.0.0.1:8000/ok"
    for other in ("http://127.0.0.1:8001/ok", "http://localhost/ok", "https://127.0.0.1:8000/"):
        assert return_url(other, "/x", local) == "http://127.0.0.1:8000/x"
    assert return_url("https://localhost/ok", "/x", local) == "https://localhost/ok"


# ------------------------------------------------------------------ amounts and plans


@pytest.mark.parametrize(
    ("cents", "fee"), [(500, "0.05"), (501, "0.033"), (999, "0"), (99_999_999, "0.5")]
)
def test_credit_and_fee_are_the_amount_and_the_fee_is_rounded_up(cents: int, fee: str) -> None:
    made = quote(cents, replace(SETTINGS, topup_fee=fee))
    assert made.credit_nanos + made.fee_nanos == cents * CENT == made.amount_cents * CENT
    exact = Decimal(cents * CENT) * Decimal(fee)
    assert exact <= made.fee_nanos < exact + 1


@pytest.mark.parametrize("cents", [499, 0, -1, 100_000_000])
def test_an_amount_has_its_bounds(cents: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        quote(cents, SETTINGS)
    assert refused.value.code == "invalid_amount"
    assert quote(500, SETTINGS).amount_cents == 500
    assert quote(99_999_999, SETTINGS).amount_cents == 99_999_999


def test_a_price_goes_before_its_product() -> None:
    text = "price_1=dev, prod_1=team"
    assert dict(read_prices(text)) == {"price_1": "dev", "prod_1": "team"}
    assert plan_of_price(text, "price_1", "prod_1") == "dev"
    assert plan_of_price(text, "price_2", "prod_1") == "team"
    assert plan_of_price(text, "price_2", "prod_2") is None
    assert plan_of_price(text, None, None) is None
    with pytest.raises(SettingsError, match="'x=y'"):
        read_prices("x=y")


def test_plans_are_the_cheapest_first_and_an_unknown_one_pays_the_published_price() -> None:
    plans = list(load_plans().values())
    assert [plan.id for plan in plans] == ["free", "dev", "team", "enterprise"]
    assert plans == sorted(plans, key=lambda plan: plan.price_cents)
    assert markup_of_plan("gone", "dev=2") == 1_000_000
    assert markup_of_plan("dev", "dev=2") == 2_000_000
    assert markup_of_plan("team", "dev=100 team=0.000001") == 1


def test_everybody_is_shown_the_free_plans_price() -> None:
    assert set(read_markups("")) == set(load_plans())
    assert read_markups("dev=1.25,team=0.9")["dev"] == 1_250_000
    for text in ("free=1.1", "nothing=1", "dev", "dev=0", "dev=-1", "dev=x", "dev=1.0000001",
                 "dev=101", "dev=100.000001", "dev=nan", "dev=inf"):  # fmt: skip
        with pytest.raises(SettingsError, match="GATEWAYZ_PLAN_MARKUPS"):
            read_markups(text)
    for text in ("price_1=nothing", "=dev", "price_1"):
        with pytest.raises(SettingsError, match="GATEWAYZ_STRIPE_PRICES"):
            read_prices(text)


# -------------------------------------------------------------------------- events


def test_of_an_event_only_names_and_states_are_kept() -> None:
    event = {
        "id": "evt_1", "type": "x", "created": 5, "livemode": False, "api_version": "v",
        "request": {"id": "req"}, "data": {"previous_attributes": {"email": "a@b.example"},
        "object": {
            "id": "in_1", "object": "invoice", "status": "paid", "customer_email": "a@b.example",
            "customer": {"id": "cus_1", "email": "a@b.example"}, "amount": 7, "charge": None,
            "payment_method_details": {"card": {"last4": "4242"}},
            "parent": {"subscription_details": {"subscription": "sub_1"}},
        }},
    }  # fmt: skip
    assert essence(event) == {
        "id": "evt_1", "type": "x", "created": 5, "livemode": False, "api_version": "v",
        "data": {"object": {
            "id": "in_1", "object": "invoice", "status": "paid", "customer": "cus_1",
            "subscription": "sub_1",
        }},
    }  # fmt: skip
    bare = {"id": "evt_2", "data": {"object": {"id": "x", "parent": None}}}
    assert essence(bare) == {"id": "evt_2", "data": {"object": {"id": "x"}}}


def test_an_events_payment_is_found_in_its_object() -> None:
    assert intent_of({"object": "payment_intent", "id": "pi_1"}) == "pi_1"
    assert intent_of({"object": "charge", "id": "ch_1", "payment_intent": "pi_2"}) == "pi_2"
    assert intent_of({"object": "refund", "payment_intent": {"id": "pi_3"}}) == "pi_3"
    assert intent_of({"object": "charge", "payment_intent": None}) is None
