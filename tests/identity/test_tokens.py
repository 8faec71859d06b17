"""Sign-in tokens: what is believed, what is not, and how often the issuer's keys are read."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gatewayz.accounts.tokens import KEEP_S, REFETCH_S, Tokens, issuers_of
from gatewayz.core import clock
from gatewayz.core.errors import StoreUnavailable, Unauthorized
from gatewayz.core.settings import load_settings
from tests.fakes.identity import PRIVY_APP, FakeIdentity
from tests.world import vouching


@pytest.fixture
def identity() -> FakeIdentity:
    return vouching()


@pytest.fixture
def tokens(identity: FakeIdentity) -> Tokens:
    settings = load_settings({})
    auth = replace(
        settings.auth, issuer=identity.issuer, privy_app=PRIVY_APP, privy_url=identity.url
    )
    return Tokens(issuers_of(replace(settings, auth=auth)))


async def refused(tokens: Tokens, token: str | bytes) -> bool:
    try:
        await tokens.verify(token if isinstance(token, bytes) else token.encode())
    except Unauthorized:
        return True
    return False


async def test_a_good_token_of_each_kind_is_believed(
    tokens: Tokens, identity: FakeIdentity
) -> None:
    identity.add_rsa()
    issuer, claims = await tokens.verify(identity.token("ada").encode())
    assert (issuer.kind, claims["sub"]) == ("supabase", "ada")
    issuer, claims = await tokens.verify(identity.token("ada", key="rs-1").encode())
    assert claims["sub"] == "ada"
    issuer, claims = await tokens.verify(identity.privy("ada").encode())
    assert (issuer.kind, claims["sub"]) == ("privy", "did:privy:ada")


WRONG_CLAIMS: dict[str, Callable[[int], dict[str, Any]]] = {
    "another audience": lambda now: {"aud": "somebody-else"},
    "another issuer": lambda now: {"iss": "https://evil.example/auth/v1"},
    "over": lambda now: {"exp": now - 60},
    "made in the future": lambda now: {"iat": now + 600},
    "not yet good": lambda now: {"nbf": now + 600},
    "made long ago": lambda now: {"iat": now - 30 * 86_400},
    "time as text": lambda now: {"exp": str(now + 3600)},
    "time as a truth": lambda now: {"exp": True},
    "nobody": lambda now: {"sub": ""},
    "a number": lambda now: {"sub": 5},
    "a guest": lambda now: {"is_anonymous": True},
    "no end": lambda now: {"exp": None},
}


@pytest.mark.parametrize("wrong", WRONG_CLAIMS.values(), ids=WRONG_CLAIMS.keys())
async def test_a_token_with_wrong_claims_is_refused(
    tokens: Tokens, identity: FakeIdentity, wrong: Callable[[int], dict[str, Any]]
) -> None:
    claims = identity.claims("ada") | wrong(clock.now_ms() // 1000)
    token = identity.sign({k: v for k, v in claims.items() if v is not None})
    assert not await refused(tokens, identity.token("ada"))
    assert await refused(tokens, token)


async def test_no_algorithm_but_the_pinned_ones_is_believed(
    tokens: Tokens, identity: FakeIdentity
) -> None:
    """Neither none, nor a public key as a shared secret, nor RS256's sisters."""
    identity.add_rsa()
    claims = identity.claims("ada")
    head = {"alg": "none", "typ": "JWT", "kid": "es-1"}
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in (head, claims)]
    assert await refused(tokens, b".".join([*parts, b""]))
    secret = json.dumps(identity.document()["keys"][0])
    for secret_kind in ("HS256", "HS384", "HS512"):
        forged = jwt.encode(claims, secret * 2, algorithm=secret_kind, headers={"kid": "es-1"})
        assert await refused(tokens, forged)
    for rsa_kind in ("RS384", "RS512", "PS256"):
        other = jwt.encode(claims, identity.rsa, algorithm=rsa_kind, headers={"kid": "rs-1"})
        assert await refused(tokens, other)


async def test_a_token_says_nothing_about_its_own_key(
    tokens: Tokens, identity: FakeIdentity
) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(own.public_key()))
    pem = own.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for head in (
        {"kid": "es-1"}, {"kid": "es-1", "jwk": public}, {"kid": "es-1", "x5c": [pem.decode()]},
        {"kid": "es-1", "jku": "https://evil.example/keys"}, {},
    ):  # fmt: skip
        forged = jwt.encode(identity.claims("ada"), own, algorithm="ES256", headers=head)
        assert await refused(tokens, forged)
    good = identity.claims("ada")
    assert await refused(tokens, identity.sign(good, crit=["exp"]))
    assert await refused(tokens, identity.sign(good, kid="nobody"))


async def test_a_token_of_one_issuer_is_not_anothers(
    tokens: Tokens, identity: FakeIdentity
) -> None:
    """One key signs both here, and each is still judged by its own issuer and audience."""
    claims = identity.claims("ada") | {"aud": PRIVY_APP}
    assert await refused(tokens, identity.sign(claims))
    assert await refused(tokens, identity.privy("ada", aud="authenticated"))


@pytest.mark.parametrize(
    "text",
    ["", "eyJ", "eyJhbGciOiJFUzI1NiJ9", "eyJ..", "eyJh.eyJ.x", "gw_live_x", "eyJ" + "a" * 20_000,
     "eyJhbGciOiJFUzI1NiJ9.bnVsbA.c2ln", "eyJhbGciOiJFUzI1NiJ9.W10.c2ln"],
)  # fmt: skip
async def test_what_is_no_token_is_refused(tokens: Tokens, text: str) -> None:
    assert await refused(tokens, text)


async def test_a_changed_token_is_refused(tokens: Tokens, identity: FakeIdentity) -> None:
    head, body, signature = identity.token("ada").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "mallory"
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert await refused(tokens, f"{head}.{changed}.{signature}")
    assert await refused(tokens, f"{head}.{body}.{signature[:-4]}AAAA")


async def test_unknown_key_ids_have_the_keys_read_at_most_once_in_a_while(
    tokens: Tokens, identity: FakeIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    before = identity.reads
    assert not await refused(tokens, identity.token("ada"))
    for number in range(50):
        assert await refused(tokens, identity.sign(identity.claims("ada"), kid=f"guess-{number}"))
    assert identity.reads == before + 1
    # The issuer changes its keys: the new one is known at the first token, once a while is over.
    identity.keys["es-2"] = ec.generate_private_key(ec.SECP256R1())
    assert await refused(tokens, identity.token("ada", key="es-2"))
    now_s += REFETCH_S + 1
    assert not await refused(tokens, identity.token("ada", key="es-2"))
    assert identity.reads == before + 2


async def test_known_keys_serve_while_the_issuer_is_away_and_go_when_it_withdraws_them(
    tokens: Tokens, identity: FakeIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    identity.keys["es-2"] = ec.generate_private_key(ec.SECP256R1())
    withdrawn = identity.token("ada", key="es-2")
    assert not await refused(tokens, withdrawn)
    identity.fails = True
    now_s += KEEP_S + 1
    assert not await refused(tokens, withdrawn)
    identity.fails = False
    del identity.keys["es-2"]
    now_s += REFETCH_S + 1
    assert await refused(tokens, withdrawn)


async def test_without_ever_a_key_signing_in_is_away_and_not_refused(
    tokens: Tokens, identity: FakeIdentity
) -> None:
    identity.fails = True
    with pytest.raises(StoreUnavailable):
        await tokens.verify(identity.token("ada").encode())


async def test_weak_and_foreign_keys_of_the_issuer_are_not_used(
    tokens: Tokens, identity: FakeIdentity
) -> None:
    identity.keys["weak"] = rsa.generate_private_key(65537, 1024)
    identity.keys["p384"] = ec.generate_private_key(ec.SECP384R1())
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weak = identity.token("ada", key="weak")
    assert await refused(tokens, weak)
    other = jwt.encode(
        identity.claims("ada"), identity.keys["p384"], algorithm="ES384", headers={"kid": "p384"}
    )
    assert await refused(tokens, other)
    assert not await refused(tokens, identity.token("ada"))


def test_nobody_is_believed_unless_the_settings_say_so() -> None:
    assert issuers_of(load_settings({})) == ()
    project = load_settings({"SUPABASE_URL": "https://p.supabase.co/"})
    (issuer,) = issuers_of(project)
    assert issuer.issuer == "https://p.supabase.co/auth/v1"
    assert issuer.keys_url == "https://p.supabase.co/auth/v1/.well-known/jwks.json"
