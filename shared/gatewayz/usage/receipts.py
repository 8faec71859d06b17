"""Signed receipts: a JWS (RFC 7515, EdDSA) over exactly what was hashed, and how anybody checks it.

A receipt names the hash of the account's receipt before it, so a chain cannot lose a link unseen.
The private key never leaves this module; verifying needs nothing but the published keys.
"""

import base64
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.core.settings import SettingsError
from gatewayz.pricing.charge import Line, amount_nanos

Row = dict[str, Any]
TYPE = "receipt+jws"
SEED_BYTES = 32
FIRST = "0" * 64


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _jwk(public: bytes) -> Row:
    """RFC 8037; the id is the key's thumbprint (RFC 7638)."""
    named = {"crv": "Ed25519", "kty": "OKP", "x": _encode(public)}
    thumb = hashlib.sha256(orjson.dumps(named)).digest()
    return {**named, "kid": _encode(thumb), "alg": "EdDSA", "use": "sig"}


class Signer:
    """`seed` is 32 bytes in base64; without one it follows from the pepper. `former` are public
    keys that signed before, published so that old receipts stay verifiable."""

    def __init__(self, seed: str, pepper: str, former: str = "") -> None:
        # 30 ms to import, and most requests of the function sign nothing.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        try:
            secret = (
                _decode(seed)
                if seed
                else hashlib.sha256(b"gatewayz receipts\0" + pepper.encode()).digest()
            )
            if len(secret) != SEED_BYTES:
                raise ValueError
            olds = [_jwk(_decode(text.strip())) for text in former.split(",") if text.strip()]
        except ValueError:
            raise SettingsError("GATEWAYZ_RECEIPT_KEY must be 32 bytes in base64") from None
        self._key: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(secret)
        self._jwk = _jwk(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        self.keys: tuple[Row, ...] = (self._jwk, *olds)

    def sign(self, text: str) -> str:
        """The compact JWS of a receipt's exact text."""
        header = {"alg": "EdDSA", "kid": self._jwk["kid"], "typ": TYPE}
        body = f"{_encode(orjson.dumps(header))}.{_encode(text.encode())}"
        return f"{body}.{_encode(self._key.sign(body.encode()))}"


def shown(found: Mapping[str, Any], signer: Signer) -> Row:
    """The answer of the API: the receipt, its hash and its signature."""
    text = found["text"]
    return {
        "receipt": orjson.Fragment(text.encode()),
        "hash": found["hash"],
        "intact": found["intact"],
        "jws": signer.sign(text),
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problems` is empty when we signed the receipt and its charge follows from its lines."""

    receipt: Row
    hash: str
    problems: tuple[str, ...]

    @property
    def valid(self) -> bool:
        return not self.problems


def verify(jws: str, keys: Iterable[Mapping[str, Any]]) -> Verdict:
    """Check one receipt; InvalidRequest when it is none."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        head, body, signature = jws.strip().split(".")
        header, text = orjson.loads(_decode(head)), _decode(body)
        receipt = orjson.loads(text)
        signed = _decode(signature)
        lines = [Line(*line) for line in receipt["lines"]]
        charge, cap = receipt["charge_nanos"], receipt["cap_nanos"]
        version = receipt["v"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest("This is not a receipt.", code="invalid_receipt") from error
    problems = []
    known = {key["kid"]: key for key in keys}
    key = known.get(header.get("kid"))
    if header.get("alg") != "EdDSA" or header.get("typ") != TYPE or version != 1:
        problems.append("it is of another form")
    elif key is None:
        problems.append("its key is none of the published ones")
    else:
        try:
            public = Ed25519PublicKey.from_public_bytes(_decode(key["x"]))
            public.verify(signed, f"{head}.{body}".encode())
        except (InvalidSignature, ValueError):
            problems.append("its signature is not over this text")
    due = amount_nanos(lines)
    if charge != (due if cap is None else min(due, cap)):
        problems.append(f"it charges {charge} nano-USD, its lines come to {due}")
    return Verdict(receipt, hashlib.sha256(text).hexdigest(), tuple(problems))


def verify_chain(verdicts: Sequence[Verdict]) -> list[str]:
    """What is wrong between neighbours of one account; the order given does not matter."""
    problems = []
    ordered = sorted(verdicts, key=lambda each: each.receipt["number"])
    for before, after in itertools.pairwise(ordered):
        first, second = before.receipt, after.receipt
        if first["account"] != second["account"]:
            problems.append("they are of different accounts")
        elif second["number"] == first["number"] + 1 and second["previous"] != before.hash:
            problems.append(f"number {second['number']} does not follow {first['number']}")
        elif second["number"] == first["number"] and before.hash != after.hash:
            problems.append(f"there are two of number {first['number']}")
    if ordered and ordered[0].receipt["number"] == 1 and ordered[0].receipt["previous"] != FIRST:
        problems.append("number 1 follows something")
    return problems
