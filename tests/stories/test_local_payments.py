"""`GATEWAYZ_STRIPE=fake make run`: a top-up tried in a browser, without an account at Stripe."""

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stories.test_local_stack import START_S, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def wait_for(check: Any) -> Any:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        if found := check():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def started(machine: Machine) -> Any:
    process = machine.spawn("dev", "--show-key", GATEWAYZ_STRIPE="fake")

    def ready() -> bool:
        assert process.poll() is None, process.communicate()[1].decode()
        try:
            return httpx.get(machine.url + "/local/state").json()["stores"]["postgres"] == "ok"
        except (httpx.HTTPError, KeyError, ValueError):
            return False

    wait_for(ready)
    return process


def stopped(process: Any) -> None:
    process.terminate()
    process.communicate(timeout=START_S)


def test_a_top_up_is_paid_on_the_page_and_credited_by_the_event(machine: Machine) -> None:
    process = started(machine)
    try:
        with httpx.Client(base_url=machine.url, timeout=30) as client:
            state = client.get("/local/state").json()
            assert state["top_up"] is True
            client.headers["authorization"] = f"Bearer {state['api_key']}"
            before = state["balance"]["balance_nanos"]
            back = machine.url + "/?session_id={CHECKOUT_SESSION_ID}"
            order = client.post(
                "/api/stripe/checkout-session", json={"amount": 1000, "success_url": back}
            ).json()
            page = httpx.get(order["url"])
            assert "$" in page.text or "10.00" in page.text
            assert re.search("no card, no money", page.text)
            paid = httpx.post(order["url"], data={"card": "pm_card_visa"})
            assert paid.status_code == 303
            assert paid.headers["location"] == f"{machine.url}/?session_id={order['session_id']}"

            def credited() -> bool:
                found = client.get("/local/state").json()["balance"]["balance_nanos"]
                return bool(found == before + 9_500_000_000)

            wait_for(credited)
            assert client.get("/local/state").json()["violations"]["count"] == 0
            begun = client.post("/api/stripe/subscription-checkout", json={"plan": "dev"}).json()
            assert httpx.post(begun["url"], data={"card": "pm_card_visa"}).status_code == 303
            wait_for(lambda: client.get("/user/plan").json()["plan_id"] == "dev")
    finally:
        stopped(process)
    # The account at the stand-in is still there after a stop.
    process = started(machine)
    try:
        with httpx.Client(base_url=machine.url, timeout=30) as client:
            client.headers["authorization"] = (
                f"Bearer {client.get('/local/state').json()['api_key']}"
            )
            order = client.post("/api/stripe/checkout-session", json={"amount": 500})
            assert order.status_code == 200, order.text
            done = machine.run("stripe", "replay", "--since", "1h", "--waiting")
            assert done.returncode == 0, done.stderr
    finally:
        stopped(process)


def test_another_word_than_fake_is_refused(machine: Machine) -> None:
    done = machine.run("dev", GATEWAYZ_STRIPE="yes")
    assert done.returncode == 1
    assert "GATEWAYZ_STRIPE" in done.stderr
