"""The port of mail: what a letter is, what sends one, how sending fails.

Guarantees that no header can be broken by what a letter says. Never shows an address in an error.
"""

from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mail:
    """`once` names this letter to this reader for ever: sent twice it is one letter still."""

    to: str
    subject: str
    text: str
    html: str
    once: str

    def __repr__(self) -> str:
        return f"Mail({self.once})"


class MailFailed(Exception):
    """It may work later. The message is short and holds no address and no secret."""

    def __init__(self, problem: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after_s = retry_after_s


class MailRefused(MailFailed):
    """It will not work: this reader, or this letter, is refused."""


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Hand the letter over; MailFailed or MailRefused."""

    async def close(self) -> None: ...


def checked_address(text: str) -> str:
    """The one address in a sender's or reader's line; ValueError when there is none."""
    _, address = parseaddr(text)
    name, _, host = address.rpartition("@")
    if not (name and host) or not text.isprintable() or " " in address:
        raise ValueError("not a mail address")
    return address


def one_line(text: str) -> str:
    """What may stand in a header: no breaks, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def message_of(mail: Mail, sender: str) -> EmailMessage:
    """The letter as it travels: plain text first, HTML beside it."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = checked_address(mail.to)
    message["Subject"] = one_line(mail.subject)
    host = checked_address(sender).rpartition("@")[2]
    message["Message-ID"] = f"<{mail.once}@{host}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message
