"""Notices: once per event, to whom it concerns and who wants them, tried until they are dead."""

import asyncio
import logging
from typing import Any

import pytest

from gatewayz.core.errors import InvalidRequest
from gatewayz.notify.mail import MailFailed, MailRefused
from gatewayz.notify.send import MOST_TRIES, Sender, wait_s
from tests.notify.conftest import APP_URL, Office


async def test_an_event_is_told_once_however_often_it_is_said(office: Office) -> None:
    await office.member("ada", "owner")
    said = await asyncio.gather(
        *(office.event("spend_alert", "alert:1", name="Daily") for _ in range(20))
    )
    assert sorted(said) == [False] * 19 + [True]
    assert (await office.send())["sent"] == 1
    assert (await office.send())["taken"] == 0
    assert await office.event("spend_alert", "alert:1", name="Daily") is False
    assert (await office.send())["taken"] == 0
    assert office.box.to("ada@acme.example") == ["Spending alert: Daily"]


async def test_two_senders_at_once_send_each_letter_once(office: Office) -> None:
    await office.member("ada", "owner")
    for number in range(30):
        await office.event("spend_alert", f"alert:{number}", name=str(number))
    sender = Sender(office.stores.postgres, office.box, APP_URL)
    done = await asyncio.gather(*(sender.step() for _ in range(4)))
    while (more := await sender.step())["taken"]:
        done.append(more)
    assert sum(step["sent"] for step in done) == 30
    assert len(set(office.box.to("ada@acme.example"))) == len(office.box.letters) == 30


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("key_created", {"olga", "adam"}),
        ("spend_alert", {"olga", "adam", "bill"}),
        ("incident_credit", {"olga", "adam", "bill"}),
    ],
)
async def test_a_notice_goes_to_the_roles_that_it_concerns(
    office: Office, kind: str, told: set[str]
) -> None:
    for person, role in {"olga": "owner", "adam": "admin", "bill": "billing",
                         "dev": "developer", "vic": "viewer"}.items():  # fmt: skip
        await office.member(person, role)
    await office.event(kind, "event:1")
    await office.send()
    assert {mail.to.partition("@")[0] for mail in office.box.letters} == told


async def test_another_accounts_people_hear_nothing(office: Office) -> None:
    await office.member("ada", "owner")
    await office.open("other")
    await office.rpc("enqueue_notice", kind="spend_alert", once="x", account="other", data={})
    assert await office.send() == {"taken": 0, "sent": 0, "failed": 0, "dead": 0}


async def test_an_account_with_nobody_to_tell_leaves_nothing_waiting(office: Office) -> None:
    await office.event("spend_alert", "alert:1")
    await office.send()
    assert await office.rpc("notice_stats") == {
        "unspread": 0, "waiting": 0, "dead": 0, "oldest_ms": 0, "kinds": {},
    }  # fmt: skip


async def test_who_wants_no_mail_gets_only_what_everybody_gets(office: Office) -> None:
    await office.member("ada", "owner")
    await office.rpc(
        "set_notice_preferences", account="acme", member="ada", set={"email_notifications": False}
    )
    await office.event("spend_alert", "alert:1")
    await office.event("key_created", "key:1", name="k")
    await office.event("auto_topup_off", "off:1")
    await office.send()
    assert sorted(office.box.to("ada@acme.example")) == [
        "A new API key in Acme",
        "Automatic top-up is switched off",
    ]


async def test_usage_alerts_are_switched_off_alone(office: Office) -> None:
    await office.member("ada", "owner")
    await office.rpc(
        "set_notice_preferences", account="acme", member="ada", set={"usage_alerts": False}
    )
    await office.event("limit_near", "limit:1")
    await office.event("incident_credit", "credit:1", amount_usd="2.00")
    await office.send()
    assert office.box.to("ada@acme.example") == ["Credit for an incident: $2.00"]


async def test_the_accounts_choice_holds_for_members_who_made_none(office: Office) -> None:
    await office.member("ada", "owner")
    await office.member("bob", "admin")
    await office.rpc("set_notice_preferences", account="acme", set={"usage_alerts": False})
    await office.rpc(
        "set_notice_preferences", account="acme", member="bob", set={"usage_alerts": True}
    )
    await office.event("limit_near", "limit:1")
    await office.send()
    assert [mail.to for mail in office.box.letters] == ["bob@acme.example"]


async def test_a_failure_waits_longer_each_time_and_ends_dead_with_an_error_line(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    await office.event("invitation", "invitation:1", email="new@else.example", link="https://l")
    office.box.failure = MailFailed("status 503")
    for tries in range(1, MOST_TRIES + 1):
        dead = tries == MOST_TRIES
        done = await office.send()
        assert done == {"taken": 1, "sent": 0, "failed": 1 - dead, "dead": int(dead)}
        assert (await office.send())["taken"] == 0, "not before its time"
        await office.later(hours=7)
    office.box.failure = None
    assert (await office.send())["taken"] == 0
    assert (await office.rpc("notice_stats"))["dead"] == 1
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert [r.getMessage() for r in errors] == ["notice_dead"]
    assert "new@else.example" not in caplog.text
    assert [wait_s(n) for n in range(1, 6)] == [30, 120, 480, 1920, 7680]
    assert wait_s(1, 90.0) == 90
    assert wait_s(40) == 6 * 3600


async def test_a_refused_letter_is_dead_at_once(office: Office) -> None:
    await office.event("invitation", "invitation:1", email="gone@else.example")
    office.box.failure = MailRefused("status 422")
    assert (await office.send())["dead"] == 1


async def test_dead_letters_are_revived_by_an_operator(office: Office) -> None:
    await office.member("ada", "owner")
    await office.event("key_created", "key:1", name="k")
    office.box.failure = MailRefused("status 422")
    await office.send()
    office.box.failure = None
    assert await office.rpc("revive_notices", kind="spend_alert") == {"revived": 0}
    assert await office.rpc("revive_notices") == {"revived": 1}
    assert (await office.send())["sent"] == 1


async def test_a_sender_that_died_leaves_its_letter_to_the_next(office: Office) -> None:
    await office.event("invitation", "invitation:1", email="new@else.example")
    taken = await office.rpc("take_notices", limit=10, visible_ms=120_000)
    assert len(taken) == 1
    assert (await office.send())["taken"] == 0
    await office.later(hours=1)
    assert (await office.send())["sent"] == 1


async def test_what_is_too_old_is_not_sent_and_its_secret_goes(office: Office) -> None:
    await office.event("sign_in_link", "link:1", email="ada@acme.example", link="https://secret")
    await office.later(hours=1)
    assert (await office.send())["taken"] == 0
    assert await _data(office) == [{}]
    assert (await office.rpc("notice_stats"))["kinds"] == {"sign_in_link": {"lapsed": 1}}


async def test_a_credential_is_forgotten_once_its_letter_is_sent(office: Office) -> None:
    await office.event("sign_in_link", "link:1", email="ada@acme.example", link="https://secret")
    await office.event("key_created", "key:1", name="kept")
    await office.send()
    assert "https://secret" in office.box.letters[0].text
    assert await _data(office) == [{}, {"name": "kept"}]


async def test_one_event_is_sent_at_once_and_no_other(office: Office) -> None:
    await office.event("invitation", "invitation:1", email="one@else.example")
    await office.event("invitation", "invitation:2", email="two@else.example")
    assert (await office.send(once="invitation:2"))["sent"] == 1
    assert [mail.to for mail in office.box.letters] == ["two@else.example"]


async def test_addresses_and_texts_go_after_ninety_days_and_the_event_stays_told(
    office: Office,
) -> None:
    await office.event("invitation", "invitation:1", email="new@else.example", inviter="Ada")
    await office.send()
    assert await office.rpc("forget_notices") == {"forgotten": 0}
    await office.later(hours=91 * 24)
    assert await office.rpc("forget_notices") == {"forgotten": 1}
    rows = await office.sql("select email, data::text from tenancy.notices")
    assert [tuple(row) for row in rows] == [(None, "{}")]
    assert await office.sql("select 1 from tenancy.notice_deliveries") == []
    assert await office.event("invitation", "invitation:1", email="new@else.example") is False


@pytest.mark.parametrize(
    "params",
    [
        {"kind": "nonsense", "once": "x", "account": "acme", "data": {}},
        {"kind": "test", "once": "x", "account": "nobody", "data": {}},
        {"kind": "test", "once": "x", "account": "acme", "data": {}, "email": "a@b\nBcc: c@d"},
        {"kind": "test", "once": "x", "account": "acme", "data": {}, "email": "no address"},
        {"kind": "test", "once": "", "account": "acme", "data": {}},
    ],
)
async def test_a_notice_that_nobody_could_send_is_refused(
    office: Office, params: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest):
        await office.rpc("enqueue_notice", **params)


async def _data(office: Office) -> list[Any]:
    import orjson

    rows = await office.sql("select data::text from tenancy.notices order by id")
    return [orjson.loads(row[0]) for row in rows]
