"""Opens the way to send mail that the settings name; the one place where it is chosen."""

from urllib.parse import urlsplit

from gatewayz.core.settings import LOOPBACK, Settings, SettingsError
from gatewayz.notify.mail import Mailer, checked_address
from gatewayz.stores.secrets import Secrets

API_KEY = "MAIL_API_KEY"
SMTP_PASSWORD = "SMTP_PASSWORD"  # noqa: S105 — the name of a secret


def open_mailer(settings: Settings, secrets: Secrets) -> Mailer | None:
    """None where mail is not configured; the local stack then writes it to its log.

    SettingsError when it is configured wrongly.
    """
    notify = settings.notify
    if not notify.sender:
        if settings.stage == "local":
            from gatewayz.notify.local import LogMailer

            return LogMailer()
        return None
    try:
        checked_address(notify.sender)
    except ValueError:
        raise SettingsError("GATEWAYZ_MAIL_FROM is not a mail address") from None
    if key := secrets.find(API_KEY):
        from gatewayz.net.http import HttpClient
        from gatewayz.notify.http_mail import HttpMailer

        where = urlsplit(notify.api_url)
        if where.scheme != "https" and where.hostname not in LOOPBACK:
            raise SettingsError("GATEWAYZ_MAIL_API_URL is not an https address")
        return HttpMailer(HttpClient(), notify.api_url, key, notify.sender)
    if not notify.smtp_host:
        raise SettingsError(f"GATEWAYZ_MAIL_FROM needs {API_KEY} or GATEWAYZ_SMTP_HOST")
    from gatewayz.notify.smtp import SmtpMailer

    if notify.smtp_tls not in ("starttls", "tls", "none"):
        raise SettingsError("GATEWAYZ_SMTP_TLS is starttls, tls or none")
    return SmtpMailer(
        notify.smtp_host,
        notify.smtp_port,
        notify.sender,
        notify.smtp_user,
        secrets.find(SMTP_PASSWORD) or "",
        notify.smtp_tls,
    )
