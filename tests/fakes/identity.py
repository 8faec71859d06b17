"""A stand-in for who vouches for people: public keys at an address, tokens signed with the private
ones. It counts how often its keys are read.
"""

import json
import threading
from functools import cached_property
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gatewayz.core import clock

AUDIENCE, PRIVY_APP = "authenticated", "privy-app"
PRIVY_SECRET = "privy-secret"
PRIVY_ISSUER = "privy.io"
# What becomes of a link that the project is asked to send.
MAIL = {"often@people.example": 429, "bad@people.example": 422, "broken@people.example": 500}


class FakeIdentity:
    """`url` is where it is served. Tests may add keys, take them away, or let it fail."""

    def __init__(self) -> None:
        self.url = ""
        self.reads = 0
        self.fails = False
        self.accounts: dict[str, list[dict[str, Any]]] = {}
        self.calls: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.keys: dict[str, Any] = {"es-1": ec.generate_private_key(ec.SECP256R1())}

    @cached_property
    def rsa(self) -> Any:
        return rsa.generate_private_key(65537, 2048)

    @property
    def issuer(self) -> str:
        return f"{self.url}/auth/v1"

    def add_rsa(self, key_id: str = "rs-1") -> None:
        self.keys[key_id] = self.rsa

    def document(self) -> dict[str, Any]:
        shown = []
        for key_id, key in self.keys.items():
            kind = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
            algorithm = jwt.get_algorithm_by_name(kind)
            entry = json.loads(algorithm.to_jwk(key.public_key()))
            shown.append(entry | {"kid": key_id, "alg": kind, "use": "sig"})
        return {"keys": shown}

    def claims(self, subject: str, **more: Any) -> dict[str, Any]:
        now_s = clock.now_ms() // 1000
        email = more.pop("email", f"{subject}@people.example")
        return {
            "iss": self.issuer, "aud": AUDIENCE, "sub": subject, "iat": now_s, "exp": now_s + 3600,
            "role": "authenticated", "email": email,
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "user_metadata": {"full_name": subject.title()}, "amr": [{"method": "otp"}],
        } | more  # fmt: skip

    def token(self, subject: str, *, key: str = "es-1", **more: Any) -> str:
        return self.sign(self.claims(subject, **more), key=key)

    def privy(self, subject: str, **more: Any) -> str:
        """An access token; with `linked_accounts`, an identity token."""
        now_s = clock.now_ms() // 1000
        claims = {"iss": PRIVY_ISSUER, "aud": PRIVY_APP, "sub": f"did:privy:{subject}",
                  "iat": now_s, "exp": now_s + 3600, "sid": "s1"} | more  # fmt: skip
        return self.sign(claims)

    def sign(self, claims: dict[str, Any], *, key: str = "es-1", **headers: Any) -> str:
        secret = self.keys[key]
        kind = "ES256" if isinstance(secret, ec.EllipticCurvePrivateKey) else "RS256"
        return jwt.encode(claims, secret, algorithm=kind, headers={"kid": key} | headers)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        path, status, body = scope["path"], 404, b"{}"
        sent = b""
        while True:
            message = await receive()
            sent += message.get("body", b"")
            if not message.get("more_body"):
                break
        if path.endswith("jwks.json"):
            with self._lock:
                self.reads += 1
            status, body = (
                (500, b"{}") if self.fails else (200, json.dumps(self.document()).encode())
            )
        elif "/api/v1/users/" in path:
            subject = path.rpartition("/")[2]
            if subject in self.accounts:
                body = json.dumps(
                    {"id": subject, "linked_accounts": self.accounts[subject]}
                ).encode()
                status = 200
        elif path == "/auth/v1/otp" or path.startswith("/auth/v1/admin/users/"):
            asked = json.loads(sent) if sent else {}
            self.calls.append(
                {"path": path, "body": asked, "query": scope["query_string"].decode()}
            )
            status = MAIL.get(str(asked.get("email")), 200)
            said = {"code": "no", "msg": f"no mail to {asked.get('email')}"}
            body = b"{}" if status == 200 else json.dumps(said).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
