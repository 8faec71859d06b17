"""One run of the sync: read every listing, judge every price, store, assemble, publish.

Guarantees that providers fail alone and keep their last good data, that a run that dies is taken
up by the next one, and that nothing is published which was not stored whole.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gatewayz.catalog import facts
from gatewayz.catalog.assemble import with_outputs
from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.feeds import ORDER, Feed, opinions
from gatewayz.catalog.fetch import Fetcher, FetchFailed
from gatewayz.catalog.gate import broken_listing, judge
from gatewayz.catalog.grouping import Index, Placed, differs, minimum_of, own_id, place
from gatewayz.catalog.hub import Figures
from gatewayz.catalog.listings.row import Row
from gatewayz.catalog.models import assemble_models
from gatewayz.catalog.publish import PublishRefused, Render, publish
from gatewayz.catalog.results import (
    ProviderResult,
    RunResult,
    count_dry,
    note_held,
    price_row,
    stored_row,
)
from gatewayz.catalog.seed import policy_of, seed
from gatewayz.catalog.store import CatalogStore, KnownProvider, batches
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, GatewayError
from gatewayz.core.ids import new_id
from gatewayz.core.log import get_log
from gatewayz.providers.provider import Provider
from gatewayz.stores.open import Stores

log = get_log(__name__)

AT_ONCE = 8
# No provider is begun later than this, so that a run ends within a function's fifteen minutes.
BEGIN_UNTIL_S = 660.0
LOCK_MS = 900_000

# (provider, what happens, rows so far); for a progress bar.
Progress = Callable[[str, str, int], None]


class Sync:
    """Over one process's stores. `providers` are the rows whose listings are read."""

    def __init__(
        self,
        stores: Stores,
        providers: Mapping[str, Provider],
        fetcher: Fetcher,
        *,
        render: Render | None = None,
        progress: Progress | None = None,
        feeds: Collection[str] = ORDER,
        begin_until_s: float = BEGIN_UNTIL_S,
    ) -> None:
        self._stores = stores
        self._store = CatalogStore(stores.postgres)
        self._providers = {s: p for s, p in providers.items() if not (p.sandbox or p.local)}
        self._fetcher = fetcher
        self._render = render
        self._progress = progress or (lambda provider, what, rows: None)
        self._feed_names = tuple(feeds)
        self._begin_until_s = begin_until_s
        self._feeds: list[Feed] = []
        self._index = Index()
        self._contexts: dict[str, int | None] = {}
        self._figures: Mapping[str, Figures] = {}

    async def run(
        self, only: Collection[str] = (), *, force: bool = False, dry_run: bool = False,
        kind: str = "all", resumes: bool = True,
    ) -> RunResult:  # fmt: skip
        """Conflict (sync_running) when another one is under way; DependencyError for Postgres."""
        started_s = clock.monotonic_s()
        result = RunResult(new_id("sync_"))
        done: set[str] = set()
        if not dry_run:
            begun = await self._store.call(
                "catalog_begin_sync",
                {"run_id": result.run_id, "kind": kind, "forced": force, "ttl_ms": LOCK_MS,
                 "resumes": resumes},
            )  # fmt: skip
            result.run_id, result.resumed = begun["run_id"], begun["resumed"]
            # Who began it with force meant all of it.
            force = force or begun["forced"]
            done = set(begun["done"])
        try:
            await self._prepare(result, dry_run=dry_run)
            chosen = [
                s for s in sorted(self._providers) if (not only or s in only) and s not in done
            ]
            gate = asyncio.Semaphore(AT_ONCE)

            async def one(slug: str) -> ProviderResult | None:
                async with gate:
                    if clock.monotonic_s() - started_s > self._begin_until_s:
                        return None
                    return await self._provider(result.run_id, slug, dry_run=dry_run)

            results = await asyncio.gather(*(one(slug) for slug in chosen))
            result.providers = [r for r in results if r is not None]
            if dry_run:
                result.state = "dry"
                return result
            if None in results:
                result.state, result.detail = "running", "out of time; the next run goes on"
            else:
                await self._publish(result, force=force)
        except BaseException:
            if not dry_run:
                # Let go at once, so that the next run may take this one up.
                await self._finish(result.run_id, "running", "broke off", quietly=True)
            raise
        await self._finish(result.run_id, result.state, result.detail)
        return result

    async def _prepare(self, result: RunResult, *, dry_run: bool) -> None:
        """Feeds, and what the catalog knows; an empty one is filled from what ships."""
        _, names = await asyncio.gather(
            self._read_hub(result),
            asyncio.gather(*(self._read_feed(name) for name in self._feed_names)),
        )
        for name, feed, problem in names:
            result.feeds[name] = problem or f"{len(feed.rows) if feed else 0} prices"
            if feed is not None:
                self._feeds.append(feed)
        self._contexts = await self._store.model_ids()
        if not self._contexts and not dry_run:
            result.seeded = await seed(self._store, result.run_id, self._providers)
            self._contexts = await self._store.model_ids()
        known = self._contexts or {
            e.model.id: e.model.context_tokens for e in open_bundle().entries()
        }
        self._contexts = dict(known)
        self._index = Index.of(sorted(known))
        self._index.rename(open_bundle().aliases())

    async def _read_feed(self, name: str) -> tuple[str, Feed | None, str]:
        from datetime import UTC, datetime

        today = datetime.fromtimestamp(clock.now_ms() / 1000, tz=UTC).date().isoformat()
        try:
            rows = await self._fetcher.feed(name, today)
        except FetchFailed as error:
            log.warning("feed_failed", feed=name, detail=str(error))
            return name, None, f"failed: {error}"
        return name, Feed.of(name, rows, today), ""

    async def _read_hub(self, result: RunResult) -> None:
        name = facts.hub()["name"]
        try:
            self._figures = await self._fetcher.hub()
            result.feeds[name] = f"figures of {len(self._figures)} models"
        except FetchFailed as error:
            log.warning("feed_failed", feed=name, detail=str(error))
            result.feeds[name] = f"failed: {error}"

    async def _provider(self, run_id: str, slug: str, *, dry_run: bool) -> ProviderResult:
        """One listing; whatever goes wrong with it stays with it."""
        provider, result = self._providers[slug], ProviderResult(slug)
        began_s = clock.monotonic_s()
        try:
            known = await self._store.known(slug)
            lacks = self._fetcher.can_ask(provider)
            if lacks:
                result.state, result.error = "skipped", lacks
                await self._prices_only(run_id, slug, known, result, dry_run=dry_run)
            else:
                self._progress(slug, "reading", 0)
                fetched = await self._fetcher.listing(
                    provider, lambda rows: self._progress(slug, "reading", rows)
                )
                result.fetched = len(fetched.rows)
                await self._listing(run_id, provider, fetched.rows, known, result, dry_run=dry_run)
        except FetchFailed as error:
            result.state, result.error = "failed", str(error)
        except DependencyError:
            raise
        except GatewayError as error:
            if error.code == "sync_lock_lost":
                raise
            result.state, result.error = "failed", f"{error.metric}: {error.message}"
        except Exception as error:
            log.exception("listing_crashed", provider=slug)
            result.state, result.error = "failed", f"{type(error).__name__}"
        result.took_ms = round((clock.monotonic_s() - began_s) * 1000)
        if result.state != "good" and not dry_run:
            await self._failed(run_id, result)
        self._progress(slug, result.state, result.fetched)
        return result

    async def _failed(self, run_id: str, result: ProviderResult) -> None:
        alert = None
        if result.state == "failed":
            shrank = result.error.startswith(_BROKEN)
            alert = "listing_shrank" if shrank else "listing_failed"
            log.warning("listing_failed", provider=result.provider, detail=result.error)
        await self._store.call(
            "catalog_fail_provider",
            {"run_id": run_id, "provider": result.provider, "state": result.state,
             "error": result.error, "fetched": result.fetched, "took_ms": result.took_ms,
             "alert": alert},
        )  # fmt: skip

    async def _listing(
        self, run_id: str, provider: Provider, rows: tuple[Row, ...], known: KnownProvider,
        result: ProviderResult, *, dry_run: bool,
    ) -> None:  # fmt: skip
        slug = provider.slug
        broken = broken_listing(len(rows), listed_before=known.listed, minimum=minimum_of(slug))
        if broken:
            raise FetchFailed(_BROKEN + broken)
        policy = policy_of(provider)
        natives = frozenset(row.native_id for row in rows)
        offers: list[dict[str, Any]] = []
        held: list[dict[str, Any]] = []
        now_ms = clock.now_ms()
        for row in map(with_outputs, rows):
            said = opinions(self._feeds, slug, row.native_id)
            verdict = judge(row, known.offers.get(row.native_id), said)
            placed = self._place(slug, row, natives, known)
            offers.append(stored_row(row, placed, policy, verdict, now_ms))
            note_held(held, result, row.native_id, verdict, known)
        if dry_run:
            count_dry(result, offers, held, known)
            return
        await self._write(run_id, slug, offers, held, result)
        closed = await self._store.call(
            "catalog_close_provider",
            {"run_id": run_id, "provider": slug, "fetched": result.fetched, "added": result.added,
             "changed": result.changed, "quarantined": result.quarantined,
             "took_ms": result.took_ms},
        )  # fmt: skip
        result.missing = closed["missing"]

    def _place(self, slug: str, row: Row, natives: frozenset[str], known: KnownProvider) -> Placed:
        """As the rules say, unless its context was found to be another model's before."""
        placed = place(slug, row, self._index, natives)
        before = known.offers.get(row.native_id)
        apart = before is not None and before.placed == "own" and placed.how == "rule"
        if apart and differs(row.context_tokens, self._contexts.get(placed.model_id)):
            return Placed(own_id(slug, row.native_id), "own", placed.quantization)
        self._index.add(placed.model_id)
        return placed

    async def _write(
        self, run_id: str, slug: str, offers: list[dict[str, Any]], held: list[dict[str, Any]],
        result: ProviderResult,
    ) -> None:  # fmt: skip
        waiting = {row["native_id"]: row for row in held}
        for batch in batches(offers):
            part = [waiting[o["native_id"]] for o in batch if o["native_id"] in waiting]
            stored = await self._store.call(
                "catalog_store",
                {"run_id": run_id, "provider": slug, "offers": batch, "quarantine": part},
            )
            result.added += stored["added"]
            result.changed += stored["changed"]
            result.quarantined += stored["quarantined"]

    async def _prices_only(
        self, run_id: str, slug: str, known: KnownProvider, result: ProviderResult, *, dry_run: bool
    ) -> None:
        """What feeds say of offers that are there, where the listing cannot be asked for."""
        offers: list[dict[str, Any]] = []
        held: list[dict[str, Any]] = []
        now_ms = clock.now_ms()
        for native_id, offer in known.offers.items():
            said = opinions(self._feeds, slug, native_id)
            if not said or offer.price is None:
                continue
            outputs = ("text",) if offer.price.of("output") else ("embeddings",)
            verdict = judge(Row(native_id, output_modalities=outputs), offer, said)
            note_held(held, result, native_id, verdict, known)
            if verdict.price is not None:
                offers.append(price_row(native_id, verdict, now_ms))
        if dry_run:
            return
        for batch in batches(offers):
            stored = await self._store.call(
                "catalog_store_prices",
                {"run_id": run_id, "provider": slug, "offers": batch, "quarantine": held},
            )
            result.changed += stored["changed"]
            result.quarantined += stored["quarantined"]
            held = []

    async def _publish(self, result: RunResult, *, force: bool) -> None:
        await assemble_models(self._store, result.run_id, self._figures)
        await self._store.call("catalog_bundle_aliases", {"aliases": dict(open_bundle().aliases())})
        try:
            result.published = await publish(
                self._stores, run_id=result.run_id, force=force, render=self._render
            )
        except PublishRefused as refusal:
            result.state, result.detail = "refused", str(refusal)
            log.error("publish_refused", run=result.run_id, detail=str(refusal))
            await self._store.call(
                "catalog_alert",
                {"kind": "publish_refused", "subject": "catalog", "severity": "critical",
                 "detail": str(refusal)},
            )  # fmt: skip

    async def _finish(self, run_id: str, state: str, detail: str, *, quietly: bool = False) -> None:
        try:
            await self._store.call(
                "catalog_finish_sync", {"run_id": run_id, "state": state, "detail": detail}
            )
        except GatewayError as error:
            if not quietly:
                raise
            log.warning("sync_not_finished", run=run_id, error=error.metric)


_BROKEN = "not believed: "
