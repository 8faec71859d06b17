"""Our SigV4 and botocore's give the same signature, whatever the request."""

import random
from datetime import UTC, datetime
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gatewayz.net.sigv4 import AwsKeys, sign

REQUESTS = 1000
LETTERS = "abcXYZ019-_.~!*'()&=+$,;:@ /%äß√語\t"
HOSTS = [
    "sqs.eu-central-1.amazonaws.com",
    "EXAMPLE.amazonaws.com:8443",
    "localhost:4566",
    "host.example:443",
    "[::1]:8080",
]
NAMES = ["Content-Type", "X-Amz-Target", "x-custom", "Accept", "User-Agent", "Expect", "X-Two"]


def _text(dice: random.Random, most: int = 12) -> str:
    return "".join(dice.choices(LETTERS, k=dice.randint(0, most)))


def _path(dice: random.Random) -> str:
    parts = [dice.choice(["..", ".", "", quote(_text(dice), safe="")]) for _ in range(4)]
    plain = quote(_text(dice), safe=":@")
    return dice.choice(["", "/", "/" + "/".join(parts), "/model/" + plain + "/invoke"])


def _query(dice: random.Random) -> str:
    pairs = [
        quote(_text(dice), safe="") + dice.choice(["=", "=", ""]) + quote(_text(dice), safe="")
        for _ in range(dice.choice([0, 1, 5]))
    ]
    return "?" + "&".join(pairs) if pairs else ""


@pytest.mark.parametrize("seed", range(4))
def test_a_signature_equals_botocore_on_random_requests(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    for _ in range(REQUESTS // 4):
        at = datetime.fromtimestamp(dice.randint(0, 4_000_000_000), tz=UTC)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda at=at: at)
        method = dice.choice(["GET", "POST", "PUT", "DELETE", "post"])
        url = dice.choice(["https", "http"]) + "://" + dice.choice(HOSTS)
        url += _path(dice) + _query(dice)
        headers = {
            name: dice.choice(["", "a", "two  spaces", " padded ", "a, b;c", "x" * 300])
            for name in dice.sample(NAMES, dice.randint(0, len(NAMES)))
        }
        body = dice.randbytes(dice.choice([0, 1, 900]))
        token = dice.choice(["", "token/" + "t" * 50])
        region, service = dice.choice(["eu-central-1", "us-east-1"]), dice.choice(["sqs", "ssm"])

        ours = sign(
            method, url, headers=headers, body=body, region=region, service=service,
            keys=AwsKeys("AKID", "secret/+key", token), now_ms=round(at.timestamp() * 1000) + 7,
        )  # fmt: skip
        theirs = AWSRequest(method=method, url=url, headers=headers, data=body)
        credentials = Credentials("AKID", "secret/+key", token or None)
        botocore.auth.SigV4Auth(credentials, service, region).add_auth(theirs)

        assert ours["authorization"] == theirs.headers["Authorization"], (method, url, headers)
        assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]
        assert ours.get("x-amz-security-token", "") == token


def test_credentials_show_no_secret() -> None:
    shown = repr(AwsKeys("AKID", "the-secret", "the-token"))
    assert "the-secret" not in shown
    assert "the-token" not in shown
