"""Who a verified token names: one identity from its claims. Pure.

Takes issuer and subject as the identity; an address is only something that is known of it. Of
several ways in which somebody is known the first of PRIORITY counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

PRIORITY = ("email", "google", "phone", "github")
# Sign-ins by which an address was really reached, in the words of Supabase's `amr`.
PROVING = frozenset({"otp", "oauth", "magiclink", "email/signup", "invite", "recovery", "sso/saml"})
LINKED_TYPES = {
    "email": "email", "google_oauth": "google", "phone": "phone", "github_oauth": "github",
}  # fmt: skip
MAX_CHARS = 320


@dataclass(frozen=True, slots=True)
class Identity:
    """`issued_at_ms` is when its token was made. `email_proved`: somebody read mail there, or a
    provider of mail said so."""

    issuer: str
    subject: str
    method: str
    email: str | None = None
    phone: str | None = None
    name: str | None = None
    handle: str | None = None
    issued_at_ms: int = 0
    email_proved: bool = False


def _text(value: Any, most: int = MAX_CHARS) -> str | None:
    """A printable text that is not empty, else None."""
    if not isinstance(value, str):
        return None
    shown = "".join(c for c in value if c.isprintable()).strip()[:most]
    return shown or None


def address(value: Any) -> str | None:
    """An e-mail address in one spelling, else None."""
    text = _text(value)
    if text is None or len(text) > 254:
        return None
    name, _, domain = text.lower().rpartition("@")
    plain = name and "." in domain and not any(c in ' <>"@,;' for c in name)
    labels = domain.split(".")
    fits = all(label and label.replace("-", "a").isalnum() for label in labels)
    return f"{name}@{domain}" if plain and fits else None


def from_supabase(claims: Mapping[str, Any]) -> Identity:
    """`app_metadata` is written by the issuer; of `user_metadata`, which its owner writes, only a
    name to show is taken."""
    app: Any = claims.get("app_metadata")
    app = app if isinstance(app, dict) else {}
    profile: Any = claims.get("user_metadata")
    profile = profile if isinstance(profile, dict) else {}
    named = app.get("providers")
    ways = [w for w in (named if isinstance(named, list) else []) if isinstance(w, str)]
    if isinstance(app.get("provider"), str):
        ways.append(app["provider"])
    email, phone = address(claims.get("email")), _text(claims.get("phone"), 40)
    there = {"email": email, "google": email, "phone": phone, "github": email or "github"}
    method = next((w for w in PRIORITY if w in ways and there[w]), None)
    other = next((w for w in ways if w.isalpha() and w.islower()), "other")
    amr: Any = claims.get("amr")
    proofs = {m.get("method") for m in amr if isinstance(m, dict)} if isinstance(amr, list) else ()
    return Identity(
        issuer=claims["iss"],
        subject=claims["sub"],
        method=method or other,
        email=email,
        phone=phone,
        name=_text(profile.get("full_name"), 100) or _text(profile.get("name"), 100),
        handle=_text(profile.get("user_name"), 100),
        issued_at_ms=int(claims["iat"]) * 1000,
        email_proved=email is not None and not PROVING.isdisjoint(proofs),
    )


def from_privy(claims: Mapping[str, Any], asked: Any = None) -> Identity:
    """An identity token lists the linked accounts, as text of JSON; an access token does not, and
    `asked` is then what Privy itself answered, when it was asked."""
    listed = asked if asked is not None else claims.get("linked_accounts")
    if isinstance(listed, str):
        try:
            listed = orjson.loads(listed)
        except orjson.JSONDecodeError:
            listed = None
    ways: dict[str, Mapping[str, Any]] = {}
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and (way := LINKED_TYPES.get(str(entry.get("type")))):
            ways.setdefault(way, entry)
    mail = address(ways.get("email", {}).get("address"))
    google = address(ways.get("google", {}).get("email"))
    phone = next((_text(ways.get("phone", {}).get(n), 40) for n in ("phone_number", "phoneNumber",
                  "number") if ways.get("phone", {}).get(n)), None)  # fmt: skip
    handle = _text(ways.get("github", {}).get("username"), 100)
    there = {"email": mail, "google": google, "phone": phone, "github": handle}
    method = next((w for w in PRIORITY if there[w]), "privy")
    names = (_text(ways.get(w, {}).get("name"), 100) for w in ("google", "github"))
    return Identity(
        issuer=claims["iss"],
        subject=claims["sub"],
        method=method,
        email=mail or google or address(ways.get("github", {}).get("email")),
        phone=phone,
        name=next((n for n in names if n), None),
        handle=handle,
        issued_at_ms=int(claims["iat"]) * 1000,
        email_proved=bool(mail or google),
    )


def display_name(identity: Identity) -> str:
    """What to call somebody: a name, else what they are known by, never a whole address."""
    if identity.name:
        return identity.name
    if identity.email:
        return identity.email.partition("@")[0]
    return identity.handle or identity.phone or "New account"
