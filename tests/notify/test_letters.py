"""Letters: every kind has one, no value breaks a header or the HTML, every way hands them over."""

import socket
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest

from gatewayz.core.notify_settings import NotifySettings
from gatewayz.core.settings import Settings, SettingsError
from gatewayz.net.http import HttpClient
from gatewayz.notify.http_mail import HttpMailer
from gatewayz.notify.letters import letter, template_of
from gatewayz.notify.local import LogMailer
from gatewayz.notify.mail import Mail, MailFailed, MailRefused, checked_address
from gatewayz.notify.open import API_KEY, SMTP_PASSWORD, open_mailer
from gatewayz.notify.smtp import SmtpMailer
from gatewayz.stores.secrets import Secrets
from tests.fakes.mail import HttpMail, SmtpServer
from tests.notify.conftest import APP_URL, Office
from tests.world import Server

SENDER = "Acme Gateway <hello@acme.example>"
MAIL = Mail("ada@acme.example", "Hello", "Text\n", "<p>Text</p>", "notice-7")


def notice(kind: str, **data: Any) -> dict[str, Any]:
    return {
        "id": 7, "kind": kind, "account": "acme", "account_name": "Acme", "tries": 1,
        "email": "ada@acme.example", "data": data, "at_ms": 1_764_000_000_000,
    }  # fmt: skip


async def test_every_kind_of_notice_has_a_letter(office: Office) -> None:
    kinds = [row[0] for row in await office.sql("select kind from tenancy.notice_kinds")]
    assert {"invitation", "sign_in_link", "low_balance", "key_created", "limit_near",
            "trial_ends", "plan_ends", "auto_topup_off", "spend_alert",
            "incident_credit"} <= set(kinds)  # fmt: skip
    for kind in kinds:
        subject, paragraphs = template_of(kind)
        assert subject
        assert "{" not in letter(notice(kind), app_url=APP_URL).text
        assert paragraphs


def test_amounts_and_times_are_written_for_people() -> None:
    text = letter(
        notice("low_balance", balance_nanos=4_999_999_999, threshold_nanos=10 * 10**9),
        app_url=APP_URL + "/",
    )
    assert text.subject == "Your balance is below $10.00"
    assert "$4.99 of credit left" in text.text
    assert f"{APP_URL}/settings/credits" in text.text
    ends = letter(notice("trial_ends", ends_at_ms=1_764_633_600_000), app_url=APP_URL)
    assert ends.subject == "Your trial ends on 2 December 2025, 00:00 UTC"


def test_values_cannot_break_out_of_html_or_the_subject() -> None:
    evil = "<script>x</script>\r\nBcc: all@else.example"
    mail = letter(notice("key_created", name=evil, prefix="gw_"), app_url=APP_URL)
    assert "<script>" not in mail.html
    assert "&lt;script&gt;" in mail.html
    named = letter({**notice("spend_alert", name=evil)}, app_url=APP_URL)
    assert "\n" not in named.subject
    assert "\r" not in named.subject
    link = letter(notice("sign_in_link", link='https://x/?a="b'), app_url=APP_URL)
    assert '<a href="https://x/?a=&quot;b">' in link.html


def test_a_value_is_never_read_as_a_template() -> None:
    mail = letter(notice("key_created", name="{app_url.__class__}", prefix="p"), app_url=APP_URL)
    assert "{app_url.__class__}" in mail.text


# ------------------------------------------------------------------ SMTP


async def test_a_letter_goes_out_by_smtp_in_text_and_html() -> None:
    async with SmtpServer() as server:
        mailer = SmtpMailer("127.0.0.1", server.port, SENDER, "user", "pass", tls="none")
        await mailer.send(MAIL)
    (got,) = server.letters
    assert isinstance(got, EmailMessage)
    assert (got["from"], got["to"], got["subject"]) == (SENDER, "ada@acme.example", "Hello")
    assert got["message-id"] == "<notice-7@acme.example>"
    plain, html = got.get_body(("plain",)), got.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content().strip() == "Text"
    assert "<p>Text</p>" in html.get_content()
    assert len(server.logins) == 1


@pytest.mark.parametrize(
    ("reply", "error"), [("550 no such reader", MailRefused), ("451 later", MailFailed)]
)
async def test_a_reader_that_is_refused_for_good_is_not_tried_again(
    reply: str, error: type[MailFailed]
) -> None:
    async with SmtpServer(refusals={MAIL.to: reply}) as server:
        with pytest.raises(MailFailed) as refused:
            await SmtpMailer("127.0.0.1", server.port, SENDER, tls="none").send(MAIL)
    assert type(refused.value) is error
    assert MAIL.to not in str(refused.value)


async def test_a_mail_server_that_is_away_may_come_back() -> None:
    async with SmtpServer(down=True) as server:
        with pytest.raises(MailFailed) as failed:
            await SmtpMailer("127.0.0.1", server.port, SENDER, tls="none").send(MAIL)
        assert not isinstance(failed.value, MailRefused)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(MailFailed):
        await SmtpMailer("127.0.0.1", port, SENDER, tls="none").send(MAIL)


async def test_no_password_travels_unencrypted() -> None:
    async with SmtpServer() as server:
        mailer = SmtpMailer("127.0.0.1", server.port, SENDER, "user", "pass")
        with pytest.raises(MailFailed):
            await mailer.send(MAIL)
    assert (server.logins, server.letters) == ([], [])
    with pytest.raises(MailFailed, match="not encrypted"):
        await SmtpMailer("mail.example", 25, SENDER, tls="none").send(MAIL)
    assert "pass" not in repr(mailer)


# ------------------------------------------------------------------ HTTP


async def test_a_letter_goes_out_by_the_http_service_with_its_own_idempotency_key() -> None:
    service = HttpMail()
    server = Server(service)
    mailer = HttpMailer(HttpClient(), server.url + "/emails", "re_secret", SENDER)
    try:
        await mailer.send(MAIL)
        await mailer.send(MAIL)
        assert len(service.posts) == 2
        assert service.letters == [
            {
                "from": SENDER, "to": ["ada@acme.example"], "subject": "Hello", "text": "Text\n",
                "html": "<p>Text</p>", "headers": {"Auto-Submitted": "auto-generated"},
            }
        ]  # fmt: skip
        assert service.headers["authorization"] == "Bearer re_secret"
        for status, kind in ((422, MailRefused), (401, MailFailed), (500, MailFailed)):
            service.status = status
            with pytest.raises(MailFailed) as failed:
                await mailer.send(MAIL)
            assert type(failed.value) is kind
        service.status, service.retry_after = 429, "90"
        with pytest.raises(MailFailed) as failed:
            await mailer.send(MAIL)
        assert failed.value.retry_after_s == 90
    finally:
        await mailer.close()
        server.stop()
    assert "re_secret" not in repr(mailer)


# ------------------------------------------------------------------ which way


async def test_the_local_stack_writes_letters_to_its_log_whole() -> None:
    written: list[str] = []
    link = "http://127.0.0.1:8000/auth/link?token=gw_live_abc"
    await LogMailer(written.append).send(replace(MAIL, text=f"Open\n\n{link}\n"))
    assert link in written[0]
    assert "ada@acme.example" in written[0]


def test_the_settings_choose_the_way(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(stage: str = "production", **notify: Any) -> Any:
        own = replace(settings, stage=stage, notify=NotifySettings(**notify))
        return open_mailer(own, Secrets())

    assert opened() is None
    assert isinstance(opened("local"), LogMailer)
    smtp = opened(sender=SENDER, smtp_host="mail.example", smtp_tls="tls")
    assert isinstance(smtp, SmtpMailer)
    assert (smtp.tls, smtp.password) == ("tls", "")
    monkeypatch.setenv(SMTP_PASSWORD, "p")
    assert opened(sender=SENDER, smtp_host="mail.example").password == "p"
    for wrong in (
        {"sender": "nobody"}, {"sender": SENDER},
        {"sender": SENDER, "smtp_host": "h", "smtp_tls": "maybe"},
    ):  # fmt: skip
        with pytest.raises(SettingsError):
            opened(**wrong)
    monkeypatch.setenv(API_KEY, "k")
    with pytest.raises(SettingsError):
        opened(sender=SENDER, api_url="http://mail.example/emails")


@pytest.mark.parametrize("text", ["", "nobody", "@host", "a@", "a b@host", "a@b\nBcc: c@d"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        checked_address(text)
