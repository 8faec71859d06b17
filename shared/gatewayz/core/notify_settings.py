"""Settings of mail: who it is from and which way it goes."""

from dataclasses import dataclass

from gatewayz.core.setting import setting as _set


@dataclass(frozen=True, slots=True)
class NotifySettings:
    sender: str = _set(
        "GATEWAYZ_MAIL_FROM",
        "",
        "who mail is from, as `Acme <hello@acme.example>`; without it none is sent, and the local"
        " stack writes it to its log",
    )
    api_url: str = _set(
        "GATEWAYZ_MAIL_API_URL",
        "https://api.resend.com/emails",
        "address of an HTTP mail service that takes what Resend takes; used when the credentials"
        " have MAIL_API_KEY",
    )
    smtp_host: str = _set("GATEWAYZ_SMTP_HOST", "", "host of a mail server, where there is no API")
    smtp_port: int = _set("GATEWAYZ_SMTP_PORT", 587, "its port")
    smtp_user: str = _set(
        "GATEWAYZ_SMTP_USER", "", "who signs in there; SMTP_PASSWORD stands with the credentials"
    )
    smtp_tls: str = _set(
        "GATEWAYZ_SMTP_TLS", "starttls", "starttls, tls, or none (only to this machine)"
    )
