"""One round of watching: probe what is due, open and close incidents, ask for balances."""

from collections.abc import Mapping
from typing import Any

from gatewayz.catalog.load import load_catalog, load_own
from gatewayz.catalog.snapshot import load_snapshot
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.core.settings import Settings, load_settings
from gatewayz.health.credit import check_balances
from gatewayz.health.maintenance import keep_up
from gatewayz.health.probes import Prober, Target, can_probe
from gatewayz.net.http import HttpClient
from gatewayz.providers.client import ProviderClient
from gatewayz.providers.provider import Provider
from gatewayz.routing.board import Board
from gatewayz.stores.open import Stores

log = get_log(__name__)

# A developer's machine: nothing is spent there that nobody asked for.
LOCAL = "local"


async def watch_health(stores: Stores, settings: Settings | None = None) -> dict[str, Any]:
    """Counts of what was done; the parts fail apart."""
    settings = settings or load_settings()
    board = Board(stores.redis)
    http = HttpClient(connect_timeout_s=5.0)
    done: dict[str, Any] = {}
    try:
        done["incidents"] = await stores.postgres.rpc("review_health", {})
        resting = await keep_up(stores, board)
        prober = Prober(
            stores,
            ProviderClient(http, stores.secrets.find, stores.secrets.refresh),
            board,
            budget_nanos=settings.health.probe_budget_usd * NANOS_PER_USD,
            free_only=settings.stage == LOCAL,
        )
        probing = (await stores.postgres.rpc("probing_state", {}))["on"]
        if probing and (wanted := await prober.due()):
            # Thousands of models are loaded only when one of them is to be probed.
            _, targets = await find_targets(stores, settings)
            done["probes"] = await prober.probe(
                (targets[key], every_s)
                for key, every_s in wanted
                if key in targets and targets[key].offer.id not in resting
            )
        if settings.stage != LOCAL:
            own = load_own(settings.catalog, stores.secrets)
            done["credit"] = await check_balances(stores, http, own.providers, board)
        await board.finish_background()
    except GatewayError as error:
        log.warning("health_watch_failed", error=error.metric)
        done["failed"] = error.code
    finally:
        await http.aclose()
    return done


async def find_targets(
    stores: Stores, settings: Settings
) -> tuple[Mapping[str, Provider], dict[tuple[str, str], Target]]:
    """Every offer that can be probed from here, by (model, provider)."""
    snapshot = await load_snapshot(stores)
    providers, catalog = load_catalog(
        settings.catalog, stores.secrets, entries=snapshot.entries, aliases=snapshot.aliases
    )
    targets: dict[tuple[str, str], Target] = {}
    for model in catalog.models():
        for offer in catalog.servable(model.id):
            if can_probe(offer, model.output_modalities):
                targets.setdefault(
                    (model.id, offer.provider), Target(offer, providers[offer.provider])
                )
    return providers, targets


async def probe_now(
    stores: Stores, settings: Settings, *, provider: str, model: str
) -> dict[str, Any] | None:
    """One probe on demand, and its outcome; None when there is no such offer here."""
    _, targets = await find_targets(stores, settings)
    target = targets.get((model, provider))
    if target is None:
        return None
    http = HttpClient(connect_timeout_s=5.0)
    try:
        prober = Prober(
            stores,
            ProviderClient(http, stores.secrets.find, stores.secrets.refresh),
            Board(stores.redis),
            budget_nanos=settings.health.probe_budget_usd * NANOS_PER_USD,
        )
        outcomes = await prober.probe([(target, 0)])
    finally:
        await http.aclose()
    return {"model": model, "provider": provider, "outcome": next(iter(outcomes))}


async def reset(stores: Stores, *, provider: str | None = None) -> int:
    """Close breakers and end pauses, of all or of one provider; how many were told."""
    asked = {} if provider is None else {"provider": provider}
    found = await stores.postgres.rpc("list_health", {"limit": 5000, **asked})
    scopes = {name for row in found["offers"] for name in (row["provider"], row["offer"])}
    board = Board(stores.redis)
    for scope in scopes:
        board.tell(scope, "r")
    await board.finish_background()
    return len(scopes)
