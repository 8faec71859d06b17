"""Mail of the local stack: written where its log is, whole, since its reader is the developer.

Never used elsewhere: a letter may hold a link that signs in.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from gatewayz.notify.mail import Mail


def _to_the_log(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class LogMailer:
    write: Callable[[str], None] = _to_the_log

    async def send(self, mail: Mail) -> None:
        lines = "".join(f"  {line}\n" for line in mail.text.splitlines())
        self.write(f"mail to {mail.to}: {mail.subject}\n{lines}")

    async def close(self) -> None:
        pass
