"""Where mail arrives in tests: a mail server that speaks SMTP, and an HTTP mail service."""

import asyncio
import email
import json
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any


@dataclass
class SmtpServer:
    """Takes what comes, or answers `refusals` by reader; `down` hangs up at once."""

    letters: list[EmailMessage] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)
    down: bool = False
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "SmtpServer":
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")

        if self.down:
            writer.close()
            return
        say("220 test")
        while line := (await reader.readline()).decode().strip():
            word = line.split(" ")[0].upper()
            if word == "EHLO":
                say("250-test")
                say("250 AUTH PLAIN")
            elif word == "AUTH":
                self.logins.append(line)
                say("235 fine")
            elif word == "RCPT" and (found := line[9:].split(">")[0]) in self.refusals:
                say(self.refusals[found])
            elif word == "DATA":
                say("354 go on")
                text = (await reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
                self.letters.append(email.message_from_bytes(text, policy=default))
                say("250 taken")
            elif word == "QUIT":
                say("221 bye")
                break
            else:
                say("250 fine")
        writer.close()


class HttpMail:
    """An HTTP mail service: keeps what is posted, once per idempotency key; answers `status`."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.headers: dict[str, str] = {}
        self.status = 200
        self.retry_after = ""

    @property
    def letters(self) -> list[dict[str, Any]]:
        firsts = dict(zip(reversed(self.keys), reversed(self.posts), strict=True))
        return list(reversed(firsts.values()))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"].removeprefix("lifespan.")
                await send({"type": f"lifespan.{kind}.complete"})
                if kind == "shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        self.headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        if self.status < 300:
            self.posts.append(json.loads(body))
            self.keys.append(self.headers["idempotency-key"])
        headers = [(b"retry-after", self.retry_after.encode())] if self.retry_after else []
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"id": "1"}'})
