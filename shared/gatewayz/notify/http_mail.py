"""Mail by an HTTP mail service: one POST a letter, in the form that Resend made usual.

The letter's own name is its idempotency key, so that a letter whose answer was lost is sent once.
Never shows the service's own words: they may repeat an address.
"""

from dataclasses import dataclass, field

import orjson

from gatewayz.net.http import HttpClient, NetError
from gatewayz.notify.mail import Mail, MailFailed, MailRefused, one_line

TIMEOUT_S = 15.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_WAIT_S = 3600.0
# What the service says of this letter; everything else may be mended.
REFUSALS = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class HttpMailer:
    http: HttpClient
    url: str
    key: str = field(repr=False)
    sender: str = ""

    async def send(self, mail: Mail) -> None:
        body = {
            "from": self.sender,
            "to": [mail.to],
            "subject": one_line(mail.subject),
            "text": mail.text,
            "html": mail.html,
            "headers": {"Auto-Submitted": "auto-generated"},
        }
        headers = {
            "authorization": f"Bearer {self.key}",
            "content-type": "application/json",
            "idempotency-key": mail.once,
        }
        try:
            answer = await self.http.request(
                "POST",
                self.url,
                headers=headers,
                body=orjson.dumps(body),
                timeout_s=TIMEOUT_S,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except NetError as error:
            raise MailFailed(type(error).__name__) from None
        if answer.status < 300:
            return
        problem = f"status {answer.status}"
        if answer.status in REFUSALS:
            raise MailRefused(problem)
        raise MailFailed(problem, retry_after_s=_wait_s(answer.headers.get("retry-after", "")))

    async def close(self) -> None:
        await self.http.aclose()


def _wait_s(stated: str) -> float | None:
    return min(float(stated), MAX_WAIT_S) if stated.isdecimal() else None
