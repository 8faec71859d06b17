"""Mail by SMTP, one connection a letter, in a thread: the standard library's client waits.

Guarantees an encrypted connection before the password is sent; without encryption only to this
machine.
"""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass, field

from gatewayz.core.settings import LOOPBACK
from gatewayz.notify.mail import Mail, MailFailed, MailRefused, message_of

TIMEOUT_S = 15.0
PERMANENT = 500


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """`tls`: starttls, tls (from the first byte) or none."""

    host: str
    port: int
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)
    tls: str = "starttls"
    context: ssl.SSLContext | None = None

    async def send(self, mail: Mail) -> None:
        await asyncio.to_thread(self._send, mail)

    async def close(self) -> None:
        pass

    def _send(self, mail: Mail) -> None:
        try:
            message = message_of(mail, self.sender)
        except ValueError:
            raise MailRefused("unusable address") from None
        try:
            with self._connect() as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            raise _failure(min(codes, default=PERMANENT), "reader refused") from None
        except smtplib.SMTPResponseException as error:
            # A refused sign-in is the operator's to mend, and then it works.
            refused = isinstance(error, smtplib.SMTPDataError | smtplib.SMTPSenderRefused)
            code = error.smtp_code if refused else 0
            raise _failure(code, f"{type(error).__name__} {error.smtp_code}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise MailFailed(type(error).__name__) from None

    def _connect(self) -> smtplib.SMTP:
        if self.tls == "none" and self.host not in LOOPBACK:
            raise MailFailed("not encrypted")
        context = self.context or ssl.create_default_context()
        if self.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=TIMEOUT_S, context=context
            )
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        try:
            if self.tls == "starttls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, self.password)
        except BaseException:
            server.close()
            raise
        return server


def _failure(code: int, problem: str) -> MailFailed:
    kind = MailRefused if code >= PERMANENT else MailFailed
    return kind(problem[:100])
