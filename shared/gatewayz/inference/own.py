"""A request at a caller's own provider keys: which offers they open, in which order, and by whom.

Such an offer is a KeyedOffer: its price is our fee, its cost to us nothing. One `always` key that
fits a request keeps it to such keys; else ours come after them. Keys are opened at the first use
and kept for some minutes; nobody without any pays for this.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from gatewayz.accounts.own import OwnKey
from gatewayz.accounts.principals import Principal
from gatewayz.accounts.sealing import NotSealed, find_ring
from gatewayz.catalog.model import Known, Offer
from gatewayz.core import clock
from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.errors import Forbidden, GatewayError, SealingNotConfigured, UpstreamAuth
from gatewayz.core.log import get_log
from gatewayz.net.http import HttpClient
from gatewayz.pricing.byok import fee_price
from gatewayz.pricing.price import Price
from gatewayz.providers.access import FindSecret, missing
from gatewayz.providers.client import STATIC, ProviderClient
from gatewayz.providers.provider import Provider, SignIn
from gatewayz.routing.filters import Candidates, Excluded
from gatewayz.routing.plan import MAX_ATTEMPTS, Plan

log = get_log(__name__)

KEEP_S = 300.0
MAX_CLIENTS = 1000
MAX_PRICED = 10_000


@dataclass(frozen=True, slots=True)
class KeyedOffer(Offer):
    """An offer as one of the caller's own keys has it. `listed` is what its provider asks for."""

    key: OwnKey | None = None
    listed: Price | None = None

    @property
    def free(self) -> bool:
        """Its provider is paid, by its key's owner."""
        return False


_FIELDS = tuple(each.name for each in fields(Offer))
# (offer, fee) → the offer that was priced, and its fee.
_fees: dict[tuple[str, int], tuple[Offer, Price]] = {}


def keyed(offer: Offer, key: OwnKey, fee_ppm: int) -> KeyedOffer:
    listed = offer.cost or offer.price
    assert listed is not None
    name = (offer.id, fee_ppm)
    known = _fees.get(name)
    if known is None or known[0] is not offer:
        if len(_fees) >= MAX_PRICED:
            _fees.clear()
        known = _fees[name] = (offer, fee_price(listed, fee_ppm))
    values = {each: getattr(offer, each) for each in _FIELDS}
    return KeyedOffer(**values | {"price": known[1], "cost": None}, key=key, listed=listed)


def key_of(offer: Offer) -> OwnKey | None:
    return offer.key if isinstance(offer, KeyedOffer) else None


def usable_sign_in(provider: Provider) -> SignIn | None:
    """How a key of somebody else's may sign in there: as a header and no other way, since all
    others name addresses. None where there is none."""
    if not provider.enabled or provider.sandbox:
        return None
    ways = provider.sign_ins
    return next((way for way in ways if way.auth.partition(":")[0] in STATIC), None)


def find_for(provider: Provider, way: SignIn, secret: str, ours: FindSecret) -> FindSecret:
    """Secrets as a call with this key sees them: the key, the operator's address, nothing else."""
    places = {name for param in provider.params.values() for name in param.names}
    places -= {each.credential for each in provider.sign_ins}

    def find(name: str) -> str | None:
        if name == way.credential:
            return secret
        return ours(name) if name in places else None

    return find


class OwnClients:
    """Clients of this process that sign in with an account's own keys."""

    def __init__(self, http: HttpClient, find_secret: FindSecret) -> None:
        self._http = http
        self._find_secret = find_secret
        self._clients: dict[str, tuple[float, ProviderClient]] = {}

    async def get(self, key: OwnKey, provider: Provider) -> ProviderClient:
        """UpstreamAuth when the key cannot be opened here, or its provider takes none."""
        now_s = clock.monotonic_s()
        known = self._clients.get(key.sealed)
        if known is not None and known[0] > now_s:
            return known[1]
        way = usable_sign_in(provider)
        if way is None:
            raise UpstreamAuth("The provider takes no keys of others.", provider=provider.slug)
        # The library that opens it takes tens of milliseconds to load.
        secret = await asyncio.to_thread(self._open, key)
        find = find_for(provider, way, secret, self._find_secret)
        client = ProviderClient(self._http, find)
        if len(self._clients) >= MAX_CLIENTS:
            self._clients.clear()
        self._clients[key.sealed] = (now_s + KEEP_S, client)
        return client

    def _open(self, key: OwnKey) -> str:
        try:
            return find_ring(self._find_secret).open(key.sealed, key.place)
        except (NotSealed, SealingNotConfigured, ImportError):
            log.error("provider_key_damaged", provider_key=key.id, account=key.account)
            raise UpstreamAuth(
                "The account's own key cannot be opened.", provider=key.provider
            ) from None


class Own:
    """The caller's keys, for one request."""

    def __init__(
        self,
        keys: Sequence[OwnKey],
        providers: Callable[[str], Provider | None],
        find_secret: FindSecret,
        fee_ppm: int,
    ) -> None:
        self._keys = [key for key in keys if takes_keys(providers(key.provider), find_secret)]
        self._fee_ppm = fee_ppm
        self._ours: set[str] = set()

    def extend(self, known: Known) -> Known:
        """With the offers that only these keys open among those to choose from."""
        self._ours |= {offer.id for offer in known.servable}
        more = tuple(
            offer
            for offer in known.offers
            if offer.id not in self._ours and offer.servable and self._of(offer)
        )
        return replace(known, servable=(*known.servable, *more)) if more else known

    def lay(
        self,
        groups: Sequence[Candidates],
        make: Callable[[Sequence[Candidates]], Plan],
        *,
        once: bool = False,
    ) -> Plan:
        """The plan: these keys first, whatever else the request prefers; ours where allowed.
        `once`: it allows no fallbacks."""
        first = _only(groups, lambda offer: bool(self._of(offer)))
        if not first:
            return make(groups)
        strict = any(k.always for g in first for offer in g.offers for k in self._of(offer))
        rest = [] if strict else _only(groups, lambda offer: offer.id in self._ours)
        plan = make(first)
        tried = [k for offer in plan.offers for k in self._keyed(offer)]
        if once and tried:
            return replace(plan, offers=(tried[0],), spare=())
        behind = [k for offer in plan.spare for k in self._keyed(offer)]
        if not rest:
            kept = {offer.id for group in first for offer in group.offers}
            out = tuple(
                Excluded(o.id, o.provider, o.model_id, "own_keys_only")
                for group in groups
                for o in group.offers
                if o.id not in kept
            )
            return replace(
                plan,
                offers=tuple(tried[:MAX_ATTEMPTS]),
                spare=(*tried[MAX_ATTEMPTS:], *behind),
                excluded=(*plan.excluded, *out),
            )
        ours = make(rest)
        # One place at least is left to ours, or falling back to them would be an empty word.
        most = MAX_ATTEMPTS - 1 if ours.offers else MAX_ATTEMPTS
        whole = (*tried[:most], *ours.offers)
        return replace(
            plan if tried else ours,
            offers=whole[:MAX_ATTEMPTS],
            spare=(*tried[most:], *whole[MAX_ATTEMPTS:], *ours.spare, *behind),
            excluded=(*plan.excluded, *(e for e in ours.excluded if e not in plan.excluded)),
            demoted=(*plan.demoted, *ours.demoted),
            probes=tuple(dict.fromkeys((*plan.probes, *ours.probes))),
        )

    def _of(self, offer: Offer) -> list[OwnKey]:
        return [key for key in self._keys if key.fits(offer.provider, offer.model_id)]

    def _keyed(self, offer: Offer) -> list[KeyedOffer]:
        return [keyed(offer, key, self._fee_ppm) for key in self._of(offer)]


def own_of(
    principal: Principal,
    providers: Mapping[str, Provider],
    find_secret: FindSecret,
    billing: BillingSettings,
) -> Own | None:
    """What the caller's provider keys change; None for nearly everybody."""
    if not principal.own:
        return None
    return Own(principal.own, providers.get, find_secret, billing.byok_fee_ppm)


def takes_keys(provider: Provider | None, find_secret: FindSecret) -> bool:
    """Can a key of somebody else's be used there from here?"""
    if provider is None:
        return False
    way = usable_sign_in(provider)
    return way is not None and not missing(provider, find_for(provider, way, "key", find_secret))


def _only(groups: Sequence[Candidates], wanted: Callable[[Offer], bool]) -> list[Candidates]:
    kept = [g._replace(offers=tuple(o for o in g.offers if wanted(o))) for g in groups]
    return [g for g in kept if g.offers]


def own_refusal(error: GatewayError, asked: Sequence[bool]) -> GatewayError:
    """The failure as its caller is told it: a refused key of their own is theirs to mend. `asked`:
    for each attempt, whether it was with such a key."""
    if not isinstance(error, UpstreamAuth) or not asked or not all(asked):
        return error
    return Forbidden(
        "The provider refused your own key for it. Look at /user/provider-keys.",
        code="provider_key_refused",
    )
