"""Verifying what we signed, without asking us: `gatewayz verify receipt`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from gatewayz.core.errors import GatewayError
from gatewayz.core.money import usd_text
from gatewayz.local.errors import LocalError

verify = typer.Typer(help="Verify what the gateway signed.", no_args_is_help=True)

TIMEOUT_S = 30
MAX_KEYS_BYTES = 1024 * 1024


@verify.command("receipt")
def verify_receipt(
    files: Annotated[
        list[str],
        typer.Argument(help="Files with a receipt each, as the API gave it; - for stdin."),
    ],
    keys: Annotated[
        str,
        typer.Option(help="A file or address with the published keys; the local gateway's else."),
    ] = "",
) -> None:
    """Check signatures, charges, and that several receipts follow each other."""
    from gatewayz.usage.receipts import verify as check
    from gatewayz.usage.receipts import verify_chain

    published = _keys(keys)
    verdicts, bad = [], False
    for name in files:
        try:
            verdict = check(_jws(_read(name)), published)
        except GatewayError as error:
            raise LocalError(f"{name}: {error.message}") from None
        verdicts.append(verdict)
        told = verdict.receipt
        amount = usd_text(told["charge_nanos"])
        print(f"{name}: {told['request_id']}, number {told['number']}, ${amount}, {verdict.hash}")
        for problem in verdict.problems:
            bad = True
            print(f"{name}: {problem}", file=sys.stderr)
    for problem in verify_chain(verdicts):
        bad = True
        print(problem, file=sys.stderr)
    print("not valid" if bad else "valid")
    if bad:
        raise typer.Exit(1)


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise LocalError(f"{name} cannot be read: {error.strerror}.") from None


def _jws(data: bytes) -> str:
    """The signature in an answer of the API, in its `data`, or alone."""
    try:
        value: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode("ascii", "replace")
    if isinstance(value, dict):
        value = value.get("data", value)
    if isinstance(value, dict):
        value = value.get("jws", "")
    return str(value)


def _keys(place: str) -> list[dict[str, Any]]:
    if not place:
        from gatewayz.cli.target import find_target

        place = find_target().url + "/v1/receipts/keys"
    if place.startswith(("https://", "http://")):
        from urllib.request import urlopen

        try:
            with urlopen(place, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the two schemes above
                data = answer.read(MAX_KEYS_BYTES)
        except OSError as error:
            raise LocalError(f"{place} cannot be read: {error}.") from None
    else:
        data = _read(place)
    try:
        found: list[dict[str, Any]] = orjson.loads(data)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise LocalError(f"{place} holds no JWK Set.") from None
    return found
