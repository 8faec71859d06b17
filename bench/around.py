"""What stands around the data plane on a serverless platform, as one process of its own.

Upstash's REST interface over a Valkey, an SQS that keeps what it is sent, and the sandbox as the
upstream: each behind TLS on its own port. Prints one JSON line when ready; counts what comes.
"""

import argparse
import asyncio
import datetime
import hashlib
import ipaddress
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gatewayz.local.sandbox import Sandbox
from tests.fakes.upstash import TOKEN, UpstashShim

NAME = "localhost"


Key = ec.EllipticCurvePrivateKey


def _sign(subject: str, key: Key, issuer: str, issuer_key: Key, *, authority: bool) -> bytes:
    """A certificate for this machine, or the authority that signs it, as PEM."""
    name, by = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)
    )
    today = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def make_certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Files of this machine's key, its certificate and the authority to trust."""
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    key_file, file, trusted = (folder / f"{name}.pem" for name in ("key", "own", "authority"))
    key_file.write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    file.write_bytes(_sign(NAME, own, "bench", authority, authority=False))
    trusted.write_bytes(_sign("bench", authority, "bench", authority, authority=True))
    return key_file, file, trusted


class SqsStub:
    """Takes SendMessage and SendMessageBatch, answers as SQS does, keeps the bodies."""

    def __init__(self) -> None:
        self.requests = 0
        self.bodies: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads(await _body(receive) or b"{}")
        self.requests += 1
        entries = asked.get("Entries") or [asked]
        self.bodies += [entry["MessageBody"] for entry in entries]
        done = [
            {
                "Id": entry.get("Id", "0"),
                "MessageId": f"m{at}",
                "MD5OfMessageBody": hashlib.md5(
                    entry["MessageBody"].encode(), usedforsecurity=False
                ).hexdigest(),
            }
            for at, entry in enumerate(entries)
        ]
        answer = {"Successful": done, "Failed": []} if "Entries" in asked else done[0]
        await _answer(send, answer, b"application/x-amz-json-1.0")


class Counted:
    """One server of three; GET /counts tells of all and hands the messages out."""

    def __init__(self, app: Any, shim: UpstashShim, sqs: SqsStub, sandbox: Sandbox) -> None:
        self._app, self._shim, self._sqs, self._sandbox = app, shim, sqs, sandbox

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/counts":
            counts = {
                "redis": len(self._shim.calls),
                "sqs": self._sqs.requests,
                "messages": len(self._sqs.bodies),
                "upstream": self._sandbox.requests,
                "bodies": self._sqs.bodies,
            }
            return await _answer(send, counts, b"application/json")
        if scope["type"] == "lifespan" and self._app is self._sqs:
            return
        await self._app(scope, receive, send)


async def _body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _answer(send: Any, body: Any, kind: bytes) -> None:
    headers = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def serve(redis_url: str, folder: Path) -> None:
    key_file, certificate, trusted = make_certificates(folder)
    shim, sqs, sandbox = UpstashShim(redis_url), SqsStub(), Sandbox()
    ports, servers, running = {}, [], []
    for name, app in {"upstash": shim, "sqs": sqs, "upstream": sandbox}.items():
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        ports[name] = listener.getsockname()[1]
        config = uvicorn.Config(
            Counted(app, shim, sqs, sandbox), log_level="error", loop="uvloop", http="httptools",
            lifespan="off" if name == "sqs" else "on", access_log=False,
            ssl_keyfile=key_file, ssl_certfile=certificate,
            ssl_version=ssl.PROTOCOL_TLS_SERVER, timeout_keep_alive=120,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        servers.append(uvicorn.Server(config))
        running.append(asyncio.ensure_future(servers[-1].serve(sockets=[listener])))
    told = {"ports": ports, "certificate": str(trusted), "token": TOKEN}
    print(json.dumps(told), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.redis, arguments.folder))


if __name__ == "__main__":
    main()
