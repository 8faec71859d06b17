"""Where one request may go: resolves its models, plans over their offers, keeps its conversation
where its prompt is cached, and takes what the shared health says into account at admission.

Guarantees that no plan costs a round trip of its own: Redis is asked beside the credit hold (D12).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import orjson

from gatewayz.accounts.principals import Principal
from gatewayz.accounts.rules import FREE, Rules
from gatewayz.billing.plans import markup_of_plan
from gatewayz.catalog.model import Known, Offer
from gatewayz.catalog.priced import at_markup
from gatewayz.core.errors import (
    Forbidden,
    GatewayError,
    InvalidRequest,
    NotFound,
    ProviderNotConfigured,
)
from gatewayz.core.money import usd_text
from gatewayz.dialects.form import UsageReport
from gatewayz.inference.fitness import CannotDo
from gatewayz.inference.gateway import Gateway
from gatewayz.inference.instructions import instructions_of
from gatewayz.inference.media import CannotTake
from gatewayz.inference.operation import Operation
from gatewayz.inference.operations.generate import Generate
from gatewayz.inference.own import own_of
from gatewayz.inference.pinned import at_pinned, find_pinned
from gatewayz.inference.routing import ADDED, no_words
from gatewayz.net.asgi import RawHeaders
from gatewayz.providers.access import missing
from gatewayz.routing.board import NO_PIN, Reply, scopes_of
from gatewayz.routing.filters import HEALTH, Candidates, Excluded
from gatewayz.routing.needs import Needs, read_needs
from gatewayz.routing.pins import MIN_CACHED_TOKENS, Pin, conversation
from gatewayz.routing.plan import Plan, plan
from gatewayz.routing.preferences import NO_PREFERENCES, Preferences, Wishes
from gatewayz.routing.refusal import refusal_of
from gatewayz.routing.wishes import read_preferences

EXTENDED = "extended"
# Reasons that pass by themselves.
PASSING = frozenset({*HEALTH, "hidden", "cooling_down"})


class Course:
    """`lay` makes the plan, `confirm` holds it against the shared state."""

    def __init__(
        self, gateway: Gateway, operation: Operation, principal: Principal, seed: int
    ) -> None:
        self._gateway = gateway
        self._operation = operation
        self._seed = seed
        self.wishes = operation.routing.wishes
        self.preferences = preferences_of(principal, self.wishes)
        operation.strict = bool(self.preferences.require_parameters)
        if principal.routing and (said := instructions_of(principal.routing)):
            instruct(operation, said)
        self.requested = operation.model
        self.groups: list[Candidates] = []
        self.absent: list[Excluded] = []
        self.needs = Needs(operation.longest_tokens, operation.max_output_tokens)
        self.conversation = NO_PIN
        self.pin: Pin | None = None
        self.plan = Plan(())
        self.redirected_from = ""
        self.dropped: tuple[str, ...] = ()  # what the offer that served does not take
        self._account = principal.account
        self._rules = principal.rules
        self._quote = ""
        find, billing = gateway.stores.secrets.find, gateway.settings.billing
        self._own = own_of(principal, gateway.providers, find, billing)
        self._markup_ppm = markup_of_plan(principal.plan, gateway.settings.billing.plan_markups)

    # ------------------------------------------------------------ before the credit hold

    async def lay(self) -> None:
        """Plan; a GatewayError says why the request can go nowhere."""
        refusal: GatewayError | None = None
        names = (self.requested, *self.wishes.models)
        for place, name in enumerate(dict.fromkeys(names[:1] if self._one_model else names)):
            try:
                known = self._gateway.resolver.at_hand(name)
                self._add(await self._gateway.resolve(name) if known is None else known)
            except (CannotTake, CannotDo) as error:
                refusal = refusal or error.naming(self._gateway.resolver.sample())
            except NotFound as error:
                # Another model that is listed and does not exist is no reason to refuse.
                if place == 0:
                    raise
                self.absent.append(Excluded("", "", error.param or name, "model_not_found"))
            except (ProviderNotConfigured, InvalidRequest, Forbidden) as error:
                refusal = refusal or error
        if not self.groups:
            raise refusal or ProviderNotConfigured("No model of this request can be served here.")
        self._operation.model = self.groups[0].model.id
        if self.wishes.quote_id is not None:
            await self._hold_quote(self.wishes.quote_id)
        self._find_conversation()
        self._plan()
        if not self.plan.offers and self._gateway.board.stale(self._scopes):
            # Before a refusal for what was known a while ago, one look at what is known now.
            await self.ask()
            self._replan()
        if not self.plan.offers:
            raise refusal_of(self.plan, self.groups)

    async def _hold_quote(self, quote_id: str) -> None:
        """At the prices that were quoted, if they still hold; else at today's."""
        prices = await find_pinned(self._gateway.stores.redis, self._account, quote_id)
        self.groups = [g._replace(offers=at_pinned(g.offers, prices)) for g in self.groups]
        self._quote = "held" if prices else "over"

    @property
    def _one_model(self) -> bool:
        """The vectors of another model are useless: only generations may change theirs."""
        return not self._operation.shape.writes

    def _add(self, known: Known) -> None:
        if not self.groups:
            self.redirected_from = known.redirected_from
        if self._own is not None:
            known = self._own.extend(known)
        if not known.servable:
            raise ProviderNotConfigured(what_is_missing(self._gateway, known))
        servable = allowed_offers(self._rules, known)
        if known.variants:
            vary(self._operation, known.variants)
            servable = longest(servable) if EXTENDED in known.variants else servable
        offers = self._operation.able(known.model, servable, self._gateway.providers)
        self.absent += [
            Excluded(o.id, o.provider, known.model.id, "unfit")
            for o in servable
            if len(offers) < len(servable) and o not in offers
        ]
        offers = at_markup(offers, self._markup_ppm)
        self.groups.append(Candidates(known.model, offers, known.variants))

    def _plan(self) -> None:
        if self._choice or self.preferences is not NO_PREFERENCES:
            needs = read_needs(
                self._operation.routing.body,
                prompt_tokens=self._operation.longest_tokens,
                max_output_tokens=self._operation.max_output_tokens,
            )
            self.needs = needs
        self._replan()

    def _replan(self) -> None:
        if self._own is None:
            self.plan = self._made(self.groups)
            return
        once = self.preferences.allow_fallbacks is False and not self.preferences.order
        self.plan = self._own.lay(self.groups, self._made, once=once)

    def _made(self, groups: Sequence[Candidates]) -> Plan:
        return plan(
            self.needs,
            groups,
            preferences=self.preferences,
            view=self._gateway.board.view(),
            seed=self._seed,
            pin=self.pin,
        )

    @property
    def _choice(self) -> bool:
        return len(self.groups) > 1 or len(self.groups[0].offers) > 1

    def _find_conversation(self) -> None:
        """Only where there is something to choose, and something worth keeping."""
        operation, wishes = self._operation, self.wishes
        if not self._choice or not operation.shape.writes:
            return
        if wishes.session is None and operation.prompt_tokens < MIN_CACHED_TOKENS:
            return
        name = conversation(self._account, operation.model, operation.routing.body, wishes.session)
        if name is not None:
            self.conversation = name
            self.pin = self._gateway.pins.find(name)

    # ------------------------------------------------------------ beside it

    @property
    def asks(self) -> bool:
        """Is Redis to be asked beside the credit hold?"""
        unknown = bool(self.conversation) and self.pin is None
        return unknown or bool(self.plan.probes) or self._gateway.board.stale(self._scopes)

    @property
    def _scopes(self) -> list[str]:
        # Those left out for their health too: else nobody would learn that they are well again.
        out = {e.offer for e in self.plan.excluded if e.reason in PASSING}
        resting = [o for group in self.groups for o in group.offers if o.id in out] if out else ()
        return scopes_of((*self.plan.offers, *self.plan.spare, *resting))

    async def ask(self) -> Reply:
        """What the shared health says of this plan; never raises."""
        return await self._gateway.board.sync(
            self._scopes,
            probes=self.plan.probes,
            pin=self.conversation if self.pin is None else NO_PIN,
            figures=self._choice,
        )

    # ------------------------------------------------------------ after it

    def confirm(self, reply: Reply) -> None:
        """Leave out what turns out to be closed; go where the conversation is. A GatewayError
        when nothing is left to try."""
        asked = self.plan
        denied = frozenset(s for s in asked.probes if s not in reply.granted)
        if reply.pin:
            self.pin = Pin.read(reply.pin)
        view = self._gateway.board.view()
        closed = frozenset(
            o.id
            for o in asked.offers
            if any(
                (known := view.entries.get(scope)) is not None and known.open_until_s > view.now_s
                for scope in (o.id, o.provider)
            )
            or (
                (known := view.entries.get(o.id)) is not None
                and (known.cooling_until_s > view.now_s or known.hidden)
            )
        )
        if closed or reply.pin:
            self._replan()
        if denied:
            kept = frozenset(
                o.id for o in self.plan.offers if o.id in denied or o.provider in denied
            )
            rest = self.plan.without(kept, "probing")
            # Nobody else is left: a second probe is better than none.
            self.plan = rest if rest.offers else self.plan
        if not self.plan.offers:
            raise refusal_of(self.plan, self.groups)

    def within(self, covered: Sequence[Offer]) -> None:
        """Keep to offers that the credit hold covers."""
        ids = {offer.id for offer in covered}
        out = frozenset(o.id for o in self.plan.offers if o.id not in ids)
        if out:
            self.plan = self.plan.without(out, "hold")
        if self._own is not None:
            # One offer stands there twice: by an own key for the fee, and by ours for its price.
            kept = tuple(o for o in self.plan.offers if any(o is c for c in covered))
            self.plan = replace(self.plan, offers=kept)

    def keep(self, offer: Offer, report: UsageReport) -> None:
        """The conversation is where it was answered, for as long as its prompt is cached."""
        if not self.conversation or offer.price is None:
            return
        price = offer.price.at(report.prompt_tokens)
        cheaper = (price.of("cache_read") or 0) < (price.of("input") or 0)
        cached = report.prompt_tokens + report.completion_tokens if cheaper else 0
        stated_s = self.wishes.cache_life_s or self._gateway.providers[offer.provider].cache_life_s
        pin, life_s = Pin(offer.id, cached), float(stated_s)
        self._gateway.pins.keep(self.conversation, pin, life_s)
        self._gateway.board.put_pin(self.conversation, pin.written(), life_s)

    @property
    def notes(self) -> RawHeaders:
        """What the answer's head says of the conversation's place, and of a quote."""
        notes = [(b"x-gatewayz-quote", self._quote.encode())] if self._quote else []
        switch = self.plan.switch
        if switch is None:
            return [*notes, (b"x-gatewayz-affinity", b"kept")] if self.plan.sticky else notes
        lost = usd_text(switch.lost_nanos)
        left = f"left; reason={switch.reason}; lost_usd={lost}"
        return [*notes, (b"x-gatewayz-affinity", left.encode())]


def allowed_offers(rules: Rules, known: Known) -> tuple[Offer, ...]:
    """What the key's rules leave of the offers; Forbidden when that is nothing."""
    if rules is FREE:
        return known.servable
    if not rules.allows_model(known.model.id):
        raise Forbidden(
            f"This key may not use '{known.model.id}'.", code="model_not_allowed", param="model"
        )
    offers = tuple(o for o in known.servable if rules.allows_provider(o.provider))
    if not offers:
        raise Forbidden(
            f"This key may use none of the providers of '{known.model.id}'.",
            code="provider_not_allowed",
            param="model",
        )
    return offers


def instruct(operation: Operation, said: str) -> None:
    """The key's own system prompt, where there is anybody to instruct."""
    if isinstance(operation, Generate):
        operation.instruct(said)


def vary(operation: Operation, variants: tuple[str, ...]) -> None:
    """Tell the operation what its model's suffixes ask of the answer; InvalidRequest where it has
    no words for it, as whatever writes no text has none."""
    if isinstance(operation, Generate):
        operation.vary(variants)
    elif wanted := next((v for v in variants if v in ADDED), None):
        raise no_words(wanted)


def longest(offers: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """Those with the largest context: what `:extended` asks for."""
    most = max((offer.context_tokens or 0 for offer in offers), default=0)
    return tuple(offer for offer in offers if (offer.context_tokens or 0) == most)


def preferences_of(principal: Principal, wishes: Wishes) -> Preferences:
    """The request's, over its key's, over its account's."""
    stored = principal.routing
    if not stored:
        return wishes.preferences
    merged = wishes.preferences
    for each in stored:
        if each:
            merged = merged.over(_stored(orjson.dumps(each)))
    return merged


@lru_cache(maxsize=4096)
def _stored(text: bytes) -> Preferences:
    return read_preferences(orjson.loads(text), param="preferences")


def what_is_missing(gateway: Gateway, known: Known) -> str:
    """On a developer's machine also the variables that would help."""
    text = f"No provider of '{known.model.id}' is configured here."
    if gateway.settings.stage != "local":
        return text
    rows = [gateway.providers[offer.provider] for offer in known.offers]
    find = gateway.stores.secrets.find
    names = dict.fromkeys(" and ".join(missing(row, find)) for row in rows if row.enabled)
    names.pop("", None)
    return f"{text} Set {' or '.join(names)} in .env and start again." if names else text
