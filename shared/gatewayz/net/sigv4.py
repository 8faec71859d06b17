"""AWS Signature Version 4: the headers that prove who sends a request. Pure, no I/O, no clock.

Signs every header it is given; the result equals botocore's, which a test checks. Services that
sign paths their own way (S3) are not for this.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
DEFAULT_PORTS = {"http": 80, "https": 443}
# Proxies, HTTP clients and tracers change these on the way.
UNSIGNED = frozenset({
    "baggage", "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "te", "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent",
    "x-amzn-trace-id",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Credentials of an AWS identity; `session_token` is empty for long-lived ones."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def sign(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    keys: AwsKeys,
    region: str,
    service: str,
    now_ms: int,
) -> dict[str, str]:
    """`headers` and those of the signature, by lower-case name; send them unchanged.

    The query of `url` is signed as it stands, so it must be percent-encoded.
    """
    stamp = datetime.fromtimestamp(now_ms // 1000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {name.lower(): value for name, value in headers.items()}
    sent["x-amz-date"] = stamp
    if keys.session_token:
        sent["x-amz-security-token"] = keys.session_token
    signed = {name: " ".join(v.split()) for name, v in sent.items() if name not in UNSIGNED}
    signed.setdefault("host", _host(url))
    names = ";".join(sorted(signed))
    parts = urlsplit(url)
    canonical = "\n".join(
        (
            method.upper(),
            quote(_without_dots(parts.path), safe="/~"),
            _sorted_query(parts.query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/{TERMINATOR}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in (stamp[:8], region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    sent["authorization"] = (
        f"{ALGORITHM} Credential={keys.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return sent


def _host(url: str) -> str:
    """What the HTTP client sends as Host: lower case, the port only when it is not the usual."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port is None or parts.port == DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"{host}:{parts.port}"


def _without_dots(path: str) -> str:
    """RFC 3986 §5.2.4, and doubled slashes as one."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    if not kept:
        return "/"
    return "/" + "/".join(kept) + ("/" if path.endswith("/") else "")


def _sorted_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join(f"{name}={value}" for name, value in pairs)
