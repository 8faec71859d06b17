"""Provider keys over both APIs: kept sealed, shown by their last four, nobody else's, rotated."""

from typing import Any

import pytest

from functions.run_daily.job import run_daily
from gatewayz.accounts.own import place_of
from gatewayz.accounts.provider_keys import MOST, reseal
from gatewayz.accounts.sealing import RING, NotSealed, find_ring, new_ring, read_ring
from tests.byok.conftest import THEIRS, Lines, Owner, keys_seen
from tests.routing.fleet import Fleet
from tests.world import Account


async def test_the_web_clients_calls_read_what_they_wrote(owner: Owner) -> None:
    body = {"provider_slug": "one", "api_key": THEIRS}
    made = (await owner.call("POST", "/user/provider-keys", body)).json()
    assert (made["provider_slug"], made["last4"], made["is_active"]) == ("one", "abcd", True)
    assert (made["mode"], made["priority"], made["label"]) == ("always", 0, "sk-...abcd")
    assert made["created_at"].startswith("20")
    listed = (await owner.call("GET", "/user/provider-keys")).json()
    assert (listed["status"], listed["total_keys"]) == ("success", 1)
    (row,) = listed["provider_keys"]
    assert row == {name: made[name] for name in row}
    gone = await owner.call("DELETE", "/user/provider-keys/one")
    assert gone.json()["deleted"] == [made["id"]]
    assert (await owner.call("GET", "/user/provider-keys")).json()["provider_keys"] == []
    again = await owner.call("DELETE", "/user/provider-keys/one")
    assert again.status_code == 404


async def test_openrouters_calls_over_the_same_keys(owner: Owner) -> None:
    body = {"provider": "two", "key": THEIRS, "name": "Production", "is_fallback": True}
    made = await owner.call("POST", "/api/v1/byok", body)
    assert made.status_code == 201
    row = made.json()["data"]
    assert {"id", "provider", "workspace_id", "label", "disabled", "is_fallback", "allowed_models",
            "allowed_api_key_hashes", "allowed_user_ids", "sort_order",
            "created_at"} <= set(row)  # fmt: skip
    assert (row["provider"], row["name"], row["disabled"]) == ("two", "Production", False)
    one = f"/api/v1/byok/{row['id']}"
    assert (await owner.call("GET", one)).json()["data"] == row
    patch = {"disabled": True, "name": None, "allowed_models": ["f/*"]}
    changed = (await owner.call("PATCH", one, patch)).json()["data"]
    assert (changed["disabled"], changed["name"], changed["allowed_models"]) == (
        True,
        None,
        ["f/*"],
    )
    freed = (await owner.call("PATCH", one, {"allowed_models": None})).json()["data"]
    assert freed["allowed_models"] is None
    rotated = (await owner.call("PATCH", one, {"key": "sk-new-key-0123456789wxyz"})).json()["data"]
    assert (rotated["label"], rotated["id"]) == ("sk-...wxyz", row["id"])
    listed = (await owner.call("GET", "/api/v1/byok?provider=two&limit=1")).json()
    assert (listed["total_count"], [r["id"] for r in listed["data"]]) == (1, [row["id"]])
    assert (await owner.call("GET", "/api/v1/byok?provider=one")).json()["data"] == []
    shown = (await owner.call("GET", "/user/provider-keys")).json()["provider_keys"]
    assert [r["id"] for r in shown] == [row["id"]]
    assert (await owner.call("DELETE", one)).json() == {"deleted": True}
    assert (await owner.call("GET", one)).status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"provider_slug": "nobody", "api_key": THEIRS}, "unknown_provider"),
        ({"provider_slug": "sandbox", "api_key": THEIRS}, "provider_takes_no_keys"),
        ({"provider_slug": "google-vertex", "api_key": THEIRS}, "provider_takes_no_keys"),
        ({"provider_slug": "one", "api_key": "short"}, "invalid_request"),
        ({"provider_slug": "one", "api_key": "with a space in it"}, "invalid_request"),
        ({"provider_slug": "one", "api_key": "line\r\nbreak-break"}, "invalid_request"),
        ({"provider_slug": "one", "api_key": "gw_live_ours_ours_ours"}, "invalid_request"),
        ({"provider_slug": "one", "api_key": THEIRS, "mode": "perhaps"}, "invalid_request"),
        ({"provider_slug": "one"}, "invalid_request"),
        ({"api_key": THEIRS}, "invalid_request"),
    ],
)
async def test_what_cannot_be_a_key_is_refused(
    owner: Owner, body: dict[str, Any], code: str
) -> None:
    answer = await owner.call("POST", "/user/provider-keys", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert body.get("api_key", "-----") not in answer.text


@pytest.mark.parametrize("name", ["base_url", "url", "endpoint", "api_base", "headers", "host"])
async def test_F45_no_address_is_a_callers(owner: Owner, upstreams: Fleet, name: str) -> None:
    """What nobody reads changes nothing: the call goes where the provider's row says."""
    await owner.keep("one", **{name: "http://169.254.169.254/"})
    assert (await owner.ask()).status_code == 200
    assert keys_seen(upstreams.upstreams["one"]) == [THEIRS]


async def test_F83_another_accounts_key_is_no_key(owner: Owner) -> None:
    key_id = await owner.keep("one")
    other = Owner(owner.world, await owner.world.account())
    missing = "00000000-0000-4000-8000-000000000000"
    for method, path, body in (
        ("GET", "/api/v1/byok/{}", None),
        ("PATCH", "/api/v1/byok/{}", {"disabled": True}),
        ("PATCH", "/api/v1/byok/{}", {"key": THEIRS}),
        ("DELETE", "/api/v1/byok/{}", None),
        ("PUT", "/user/provider-keys/{}", {"is_active": False}),
        ("DELETE", "/user/provider-keys/{}", None),
    ):
        theirs = await other.call(method, path.format(key_id), body)
        nobodys = await other.call(method, path.format(missing), body)
        assert theirs.status_code == nobodys.status_code == 404, (method, path)
        assert _body(theirs) == _body(nobodys)
    assert (await other.call("DELETE", "/user/provider-keys/one")).status_code == 404
    assert (await owner.call("GET", f"/api/v1/byok/{key_id}")).json()["data"]["disabled"] is False


async def test_scopes_are_asked_for(owner: Owner) -> None:
    body = {"key_name": "small", "scopes": ["inference", "keys:read"], "environment_tag": "test"}
    made = await owner.call("POST", "/user/api-keys", body)
    small = Owner(owner.world, Account(owner.account.id, made.json()["api_key"], ""))
    assert (await small.call("GET", "/user/provider-keys")).status_code == 200
    new = {"provider_slug": "one", "api_key": THEIRS}
    assert (await small.call("POST", "/user/provider-keys", new)).status_code == 403
    assert (await small.call("GET", "/api/v1/byok")).status_code == 403


async def test_an_account_keeps_so_many_and_no_more(owner: Owner) -> None:
    for number in range(MOST):
        await owner.keep("one", f"sk-key-number-{number:04}-xyz")
    body = {"provider_slug": "one", "api_key": THEIRS}
    refused = await owner.call("POST", "/user/provider-keys", body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "provider_key_limit")
    rows = (await owner.call("GET", "/user/provider-keys")).json()["provider_keys"]
    assert [row["priority"] for row in rows] == list(range(MOST))


async def test_without_a_ring_nothing_is_kept_and_reading_still_works(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RING)
    body = {"provider_slug": "one", "api_key": THEIRS}
    answer = await owner.call("POST", "/user/provider-keys", body)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "encryption_not_configured"
    assert (await owner.call("GET", "/user/provider-keys")).json()["total_keys"] == 0


async def test_every_change_stands_in_the_audit_without_a_secret(owner: Owner) -> None:
    key_id = await owner.keep("one")
    await owner.call("PUT", f"/user/provider-keys/{key_id}", {"mode": "fallback"})
    await owner.call("PUT", f"/user/provider-keys/{key_id}", {"api_key": THEIRS + "2"})
    await owner.call("DELETE", f"/user/provider-keys/{key_id}")
    audit = await owner.call("GET", "/user/audit?action=provider_key.")
    assert [row["action"] for row in reversed(audit.json()["logs"])] == [
        "provider_key.created", "provider_key.updated", "provider_key.rotated",
        "provider_key.deleted",
    ]  # fmt: skip
    sealed = await owner.world.sql("select sealed from tenancy.provider_keys")
    assert [row[0] for row in sealed] == [None]
    assert "s1." not in audit.text
    assert (await owner.call("GET", "/user/audit/verify")).json()["valid"] is True


async def test_a_closed_account_leaves_no_key_no_code_and_no_letter(owner: Owner) -> None:
    await owner.keep("one")
    name, rpc = owner.account.id, owner.world.stores.postgres.rpc
    callback = {"callback_url": "https://app.example/"}
    await owner.call("POST", "/api/v1/auth/keys/code", callback)
    await rpc("set_notice_preferences", {"account": name, "set": {"usage_alerts": False}})
    said = {"kind": "invitation", "once": "i:1", "account": name, "email": "ada@acme.example"}
    await rpc("enqueue_notice", said | {"data": {"link": "https://secret"}})
    await owner.world.sql("update tenancy.accounts set status = 'closed' where account = $1", name)
    for table, left in (
        ("provider_keys where sealed is not null", 0),
        ("provider_keys", 1),
        ("grant_codes", 0),
        ("notice_preferences", 0),
        ("notices where email is not null or data <> '{}'", 0),
    ):
        rows = await owner.world.sql(f"select count(*) from tenancy.{table}")
        assert rows[0][0] == left, table
    assert await rpc("take_notices", {}) == []


# ------------------------------------------------------------------ the ring


async def test_a_newer_ring_seals_all_anew_once_a_day_and_requests_go_on(
    owner: Owner, upstreams: Fleet, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    await owner.keep("one")
    await owner.keep("two", THEIRS + "2")
    await owner.ask(provider={"only": ["one"]})
    old = find_ring(owner.world.stores.secrets.find)
    text = (await owner.world.sql("select sealed from tenancy.provider_keys limit 1"))[0][0]
    import os

    newer = new_ring(os.environ[RING])
    monkeypatch.setenv(RING, newer)
    done: Any = await run_daily(owner.world.stores)
    assert done["provider_keys"] == {"resealed": 2, "damaged": 0, "moved": 0}
    rings = await owner.world.sql("select distinct ring from tenancy.provider_keys")
    assert [row[0] for row in rings] == [2]
    again: Any = await run_daily(owner.world.stores)
    assert again["provider_keys"] == {"resealed": 0, "damaged": 0, "moved": 0}
    # The old key leaves the ring: what was sealed anew still opens, from the next request.
    monkeypatch.setenv(RING, newer.split()[0])
    answer = await owner.ask(provider={"only": ["one"]})
    assert answer.status_code == 200, answer.text
    assert keys_seen(upstreams.upstreams["one"]) == [THEIRS, THEIRS]
    assert text.startswith("s1.1.")
    assert old.current == 1


async def test_what_another_ring_sealed_is_told_and_not_used(
    owner: Owner, upstreams: Fleet, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.keep("one", mode="fallback")
    monkeypatch.setenv(RING, new_ring())
    answer = await owner.ask(provider={"only": ["one"]})
    assert answer.status_code == 200
    assert "our-own-key-of-one" in keys_seen(upstreams.upstreams["one"])
    assert THEIRS not in keys_seen(upstreams.upstreams["one"])
    assert [line["level"] for line in lines.of("provider_key_damaged")] == ["ERROR"]


async def test_a_row_moved_to_another_account_opens_for_nobody(owner: Owner) -> None:
    key_id = await owner.keep("one")
    sealed = (await owner.world.sql("select sealed from tenancy.provider_keys"))[0][0]
    ring = find_ring(owner.world.stores.secrets.find)
    assert ring.open(sealed, place_of(owner.account.id, "one", key_id)) == THEIRS
    for account, provider in (("acct_9", "one"), (owner.account.id, "two")):
        with pytest.raises(NotSealed):
            ring.open(sealed, place_of(account, provider, key_id))


async def test_a_key_changed_during_a_rotation_is_left_as_it_is(owner: Owner) -> None:
    await owner.keep("one")
    postgres = owner.world.stores.postgres
    ring = find_ring(owner.world.stores.secrets.find)
    newer = read_ring(new_ring(_text(ring)))

    class Meanwhile:
        """A store in which somebody is faster."""

        async def rpc(self, name: str, params: Any = None, **more: Any) -> Any:
            answer = await postgres.rpc(name, params, **more)
            if name == "list_sealed_keys" and answer:
                await owner.call(
                    "PATCH", f"/api/v1/byok/{answer[0]['id']}", {"key": "sk-faster-0123456"}
                )
            return answer

    async def push(account: str, epoch: int) -> None:
        pass

    done = await reseal(Meanwhile(), newer, push)  # type: ignore[arg-type]
    assert done == {"resealed": 0, "damaged": 0, "moved": 1}


def _text(ring: Any) -> str:
    import base64

    return " ".join(f"{n}:{base64.b64encode(k).decode()}" for n, k in ring.keys.items())


def _body(answer: Any) -> Any:
    return {name: value for name, value in answer.json()["error"].items() if name != "metadata"}
