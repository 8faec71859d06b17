"""What providers have left of our credit: asked where they tell it, told to every planner.

A provider that runs low goes behind the others before it fails; a refused payment counts where
nobody can be asked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.money import NANOS_PER_USD, usd_number
from gatewayz.health.rows import text_of
from gatewayz.net.http import HttpClient, NetError
from gatewayz.providers.access import base_url, sign_in
from gatewayz.providers.auth import Signer
from gatewayz.providers.provider import Provider
from gatewayz.providers.tables import Table, read_toml
from gatewayz.routing.board import Board
from gatewayz.stores.open import Stores

log = get_log(__name__)

FILE = Path(__file__).with_name("balances.toml")
TIMEOUT_S = 10.0
MAX_BYTES = 256 * 1024
# A balance is true for a while; it is asked for every quarter of an hour.
EVERY_S = 900.0
LOW_FOR_MS = 3_600_000
Level = Literal["critical", "warning", "info", "ok"]
LEVELS: tuple[tuple[int, Level], ...] = ((5, "critical"), (20, "warning"), (50, "info"))


PATH = r"(/|https://[a-z0-9.-]+/)[a-z0-9/_-]+"
# One of a list: the first whose key has this value.
CHOICE = re.compile(r"(\w+)\[(\w+)=(\w+)\]")


@dataclass(frozen=True, slots=True)
class Balance:
    """Where a provider tells our balance: dotted places in its answer, in `per_usd` a dollar."""

    path: str
    amount: str
    spent: str = ""
    per_usd: int = 1


def load_balances(file: Path = FILE) -> Mapping[str, Balance]:
    """Balance endpoints by provider."""
    found = {}
    for slug, row in read_toml(file).items():
        table = Table(file.name, slug, row)
        found[slug] = Balance(
            table.text("path", pattern=PATH),
            table.text("amount"),
            table.text("spent", ""),
            table.count("per_usd") or 1,
        )
        table.finish()
    return found


def read_balance(balance: Balance, answer: Any) -> int | None:
    """Nano-USD in a provider's answer; None when it tells no amount in USD."""
    try:
        amount = Decimal(str(_at(answer, balance.amount)))
        spent = Decimal(str(_at(answer, balance.spent))) if balance.spent else Decimal(0)
    except InvalidOperation:
        return None
    usd = (amount - spent) / balance.per_usd
    left = usd * NANOS_PER_USD
    return int(left) if left.is_finite() and abs(left) < 10**15 else None


def _at(value: Any, place: str) -> Any:
    for part in place.split("."):
        if choice := CHOICE.fullmatch(part):
            listed = value.get(choice[1]) if type(value) is dict else None
            value = _chosen(listed, choice[2], choice[3])
        elif type(value) is list:
            value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
        else:
            value = value.get(part) if type(value) is dict else None
    return value


def _chosen(listed: Any, key: str, wanted: str) -> Any:
    entries = listed if type(listed) is list else []
    return next((each for each in entries if type(each) is dict and each.get(key) == wanted), None)


def level_of(balance_nanos: int) -> Level:
    """How urgent it is to top up."""
    for usd, level in LEVELS:
        if balance_nanos <= usd * NANOS_PER_USD:
            return level
    return "ok"


async def check_balances(
    stores: Stores, http: HttpClient, providers: Mapping[str, Provider], board: Board
) -> dict[str, Level]:
    """Ask every provider that can be asked and is not known freshly; what level each is at."""
    known = {row["provider"]: row for row in await stores.postgres.rpc("list_provider_credit", {})}
    signer = Signer(http, stores.secrets.find)
    found: dict[str, Level] = {}
    for slug, balance in load_balances().items():
        provider = providers.get(slug)
        age_ms = (known.get(slug) or {}).get("age_ms")
        if provider is None or (age_ms is not None and age_ms < EVERY_S * 1000):
            continue
        nanos = await _ask(http, signer, provider, balance, stores)
        if nanos is None:
            continue
        await stores.postgres.rpc("set_provider_credit", {"provider": slug, "balance_nanos": nanos})
        found[slug] = level = level_of(nanos)
        board.tell(slug, f"L{LOW_FOR_MS if level == 'critical' else 0}")
        if level in ("critical", "warning"):
            log.error("provider_credit_low", provider=slug, level=level)
    return found


async def credit_pages(stores: Stores) -> list[dict[str, Any]]:
    """Every provider that told its balance or refused our payment, as staff reads it."""
    pages = []
    for row in await stores.postgres.rpc("list_provider_credit", {}):
        nanos = row["balance_nanos"]
        pages.append(
            {
                "provider": row["provider"],
                "balance_usd": None if nanos is None else usd_number(nanos),
                "status": "unknown" if nanos is None else level_of(nanos),
                "refused_payments": row["refusals"],
                "last_refused_at": text_of(row["refused_at_ms"]),
                "checked_at": text_of(row["checked_at_ms"]),
            }
        )
    return pages


async def _ask(
    http: HttpClient, signer: Signer, provider: Provider, balance: Balance, stores: Stores
) -> int | None:
    way = sign_in(provider, stores.secrets.find)
    if way is None:
        return None
    try:
        url = balance.path
        if url.startswith("/"):
            url = base_url(provider, stores.secrets.find) + url
        headers = await signer.sign(
            way, "GET", url, headers={"accept": "application/json"}, body=b""
        )
        answer = await http.request(
            "GET", url, headers=headers, body=b"", timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES
        )
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        return read_balance(balance, orjson.loads(answer.body))
    except (GatewayError, NetError, ValueError) as error:
        log.info("balance_unknown", provider=provider.slug, error=type(error).__name__)
        return None
