"""What a name means, on the data plane: process → Redis → the bundled file, one model at a time.

Guarantees that no request loads the catalog, that a warm name costs no round trip, and that an
empty, damaged or absent store leaves the last good answer, at worst the bundled one (F21).
"""

import asyncio
from collections.abc import Callable, Mapping

from gatewayz.catalog.bundle import Bundle, open_bundle
from gatewayz.catalog.entries import Draft, overlay
from gatewayz.catalog.model import MAX_SUGGESTIONS, MODEL_ID, Catalog, Entry, Known
from gatewayz.catalog.names import split_variants
from gatewayz.catalog.record import DamagedRecord, decode
from gatewayz.catalog.suggest import Suggestions
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, NotFound, echo
from gatewayz.core.log import get_log
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

POINTER = "catalog:{catalog}"
SCRIPT = "catalog_v1"
# A published change is seen after this long at most; until then names are answered from memory.
FRESH_S = 30.0
# After a failure the store is not asked again for this long.
RETRY_S = 5.0
MAX_KEPT = 2000
MAX_UNKNOWN = 10_000
UNKNOWN_S = 60.0
# So many close names are looked at for three that can be served.
LOOKED_AT = 12


class Resolver:
    """One process's view. `local` is what only this process knows: sandbox, operator's file,
    model servers of the machine; `overlays` are the operator's own offers of listed models.
    """

    def __init__(
        self,
        redis: RedisScripts | None,
        local: Catalog,
        *,
        ready: frozenset[str],
        known: frozenset[str],
        overlays: Mapping[str, Draft] | None = None,
        bundle: Callable[[], Bundle] = open_bundle,
    ) -> None:
        self.local = local
        self.version = ""
        self._redis = redis
        self._ready = ready
        self._providers = known
        self._overlays = overlays or {}
        self._bundle = bundle
        self._kept: dict[str, Known] = {}
        self._before: dict[str, Known] = {}
        self._mine: dict[str, Known] = {}
        self._unknown: dict[str, float] = {}
        self._check_at_s = 0.0
        self._away_until_s = 0.0
        self._checking: asyncio.Task[None] | None = None
        self._suggestions: Suggestions | None = None
        self._sample: Catalog | None = None

    def at_hand(self, name: str) -> Known | None:
        """What this process knows of a name without asking anybody."""
        mine = self._find_local(name)
        if mine is not None:
            return mine
        kept = self._kept.get(name)
        if kept is not None and clock.monotonic_s() >= self._check_at_s:
            self._check_behind()
        return kept

    async def resolve(self, name: str) -> Known:
        """NotFound (model_not_found, with up to three names that can be served)."""
        known = self.at_hand(name)
        if known is not None:
            return known
        if self._unknown.get(name, 0.0) > clock.monotonic_s():
            raise self._not_found(name)
        found = await self._look_up(name) if MODEL_ID.fullmatch(name) else None
        if found is None:
            if len(self._unknown) >= MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[name] = clock.monotonic_s() + UNKNOWN_S
            raise self._not_found(name)
        if len(self._kept) >= MAX_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[name] = found
        return found

    def _find_local(self, name: str) -> Known | None:
        """What needs nobody else: own models, plain or with suffixes."""
        mine = self._mine.get(name)
        if mine is None:
            mine = self._look_local(name)
            if mine is not None and len(self._mine) < MAX_KEPT:
                self._mine[name] = mine
        return mine

    def _look_local(self, name: str) -> Known | None:
        for text, variants in {(name, ()), split_variants(name)}:
            model = self.local.find(text)
            if model is not None and model.id not in self._overlays:
                model_id = model.id
                return Known(
                    model, self.local.offers(model_id), self.local.servable(model_id), variants
                )
        return None

    async def _look_up(self, name: str) -> Known | None:
        base, variants = split_variants(name)
        asked = [name] if base == name else [name, base]
        if self._redis is None or clock.monotonic_s() < self._away_until_s:
            return self._without_store(name, asked, variants)
        try:
            found = await self._find("", asked)
        except DependencyError as error:
            self._away_until_s = clock.monotonic_s() + RETRY_S
            log.warning("catalog_unavailable", error=error.metric)
            return self._without_store(name, asked, variants)
        if found is not None:
            entry, place, how = found
            return self._known(entry, variants if place else (), name if how == "r" else "")
        if self.version:
            return self._overlay_only(asked, variants)
        return self._bundled(asked, variants)

    def _without_store(
        self, name: str, asked: list[str], variants: tuple[str, ...]
    ) -> Known | None:
        """What was known here is newer than the bundled catalog; that one is whole."""
        return self._before.get(name) or self._bundled(asked, variants)

    async def _find(self, version: str, asked: list[str]) -> tuple[Entry, int, str] | None:
        assert self._redis is not None
        pairs = [text for name in asked for text in (name, name.lower())]
        reply = await self._redis.script(SCRIPT, [POINTER], ["find", version, *pairs])
        current, previous, place, how, record = _five(reply)
        if not version:
            self._moved(current)
        if not place:
            return None
        try:
            return decode(record), int(place) - 1, how
        except DamagedRecord as problem:
            log.error("catalog_damaged", model=asked[0], version=version or current,
                      detail=str(problem))  # fmt: skip
            return await self._find(previous, asked) if previous and not version else None

    def _moved(self, version: str) -> None:
        """Everything that was kept is of another version, and good only when the store fails."""
        self._check_at_s = clock.monotonic_s() + FRESH_S
        if version != self.version:
            self.version = version
            self._before, self._kept = self._kept, {}
            self._unknown.clear()

    def _check_behind(self) -> None:
        """Look behind the request whether there is a newer version."""
        if self._redis is None or (self._checking is not None and not self._checking.done()):
            return
        self._check_at_s = clock.monotonic_s() + FRESH_S
        self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        assert self._redis is not None
        try:
            reply = await self._redis.script(SCRIPT, [POINTER], ["state"])
        except DependencyError:
            return
        current, _, whole = reply
        # A pointer without its entries, or none: what is in memory is better than that.
        if int(whole):
            self._moved(str(current))

    def _bundled(self, asked: list[str], variants: tuple[str, ...]) -> Known | None:
        bundle = self._bundle()
        for place, name in enumerate(asked):
            entry = bundle.find(name)
            if entry is None and (model_id := bundle.alias(name.lower())):
                entry = bundle.find(model_id)
            if entry is not None:
                return self._known(entry, variants if place else ())
        return self._overlay_only(asked, variants)

    def _overlay_only(self, asked: list[str], variants: tuple[str, ...]) -> Known | None:
        """A model that only the operator's file has."""
        for place, name in enumerate(asked):
            model = self.local.find(name)
            if model is not None:
                offers, servable = self.local.offers(model.id), self.local.servable(model.id)
                return Known(model, offers, servable, variants if place else ())
        return None

    def _known(self, entry: Entry, variants: tuple[str, ...], redirected: str = "") -> Known:
        draft = self._overlays.get(entry.model.id)
        if draft is not None:
            entry = overlay(entry, draft)
        offers = tuple(o for o in entry.offers if o.provider in self._providers)
        servable = tuple(o for o in offers if o.servable and o.provider in self._ready)
        return Known(entry.model, offers, servable, variants, redirected)

    def _not_found(self, name: str) -> NotFound:
        close = self._suggest(name)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        return NotFound(
            f"Model '{echo(name)}' does not exist.{hint}",
            code="model_not_found",
            param="model",
            metadata={"suggestions": close},
        )

    def _suggest(self, name: str) -> list[str]:
        """Names of the bundled and the process's own models: the published ones are not loaded."""
        if self._suggestions is None:
            own = [m.id for m in self.local.models() if self.local.servable(m.id)]
            self._suggestions = Suggestions.of_ids([*own, *self._bundle().names()])
        close = self._suggestions.close(split_variants(name)[0], LOOKED_AT)
        return [model_id for model_id in close if self._can_serve(model_id)][:MAX_SUGGESTIONS]

    def _can_serve(self, model_id: str) -> bool:
        if self.local.servable(model_id):
            return True
        entry = self._bundle().find(model_id)
        return entry is not None and bool(self._known(entry, ()).servable)

    def sample(self) -> Catalog:
        """What could be named to somebody whose model cannot do what is asked: this process's own
        and the bundled models. For errors: reading it all takes some 30 ms, once."""
        if self._sample is None:
            own = self.local.entries()
            listed = (e for e in self._bundle().entries() if not self.local.find(e.model.id))
            known = (
                Entry(e.model, tuple(o for o in e.offers if o.provider in self._providers))
                for e in listed
            )
            self._sample = Catalog([*own, *known], aliases={}, ready=self._ready)
        return self._sample

    def grown(self, local: Catalog) -> None:
        """Model servers of the machine were found, or are gone."""
        self.local = local
        self._mine.clear()
        self._suggestions = self._sample = None
        self._unknown.clear()


def _five(reply: object) -> tuple[str, str, int, str, str]:
    if not isinstance(reply, list) or len(reply) != 5:
        return "", "", 0, "", ""
    current, previous, place, how, record = reply
    return str(current), str(previous), int(place), str(how), str(record)
