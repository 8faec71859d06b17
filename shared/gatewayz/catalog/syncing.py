"""A sync with everything it needs from this process: for the schedule, the command line, staff."""

from collections.abc import Collection

from gatewayz.catalog.fetch import Fetcher
from gatewayz.catalog.load import load_own
from gatewayz.catalog.results import RunResult
from gatewayz.catalog.snapshot import Snapshot
from gatewayz.catalog.sync import BEGIN_UNTIL_S, Progress, Sync
from gatewayz.catalog.views.pages import render_pages
from gatewayz.core.settings import Settings
from gatewayz.net.http import HttpClient
from gatewayz.stores.open import Stores

ON, OFF, AUTO = "on", "off", "auto"


def scheduled(settings: Settings) -> bool:
    """Whether the schedule reads listings here: not on a developer's machine, unless told to."""
    if settings.catalog.sync == AUTO:
        return settings.stage in ("production", "staging")
    return settings.catalog.sync == ON


async def sync_catalog(
    stores: Stores, settings: Settings, only: Collection[str] = (), *,
    kind: str = "all", force: bool = False, dry_run: bool = False,
    progress: Progress | None = None, begin_until_s: float | None = None,
) -> RunResult:  # fmt: skip
    """One run over the listings that can be read from here. NotFound is no error of a provider:
    an unknown name in `only` is the caller's to refuse. `begin_until_s`: no listing is begun
    later, and the run is left for the next one."""
    own = load_own(settings.catalog, stores.secrets)

    def render(snapshot: Snapshot) -> dict[str, bytes]:
        return dict(render_pages(snapshot, own.providers, own.ready))

    http = HttpClient(connect_timeout_s=5.0)
    try:
        fetcher = Fetcher(http, stores.secrets.find)
        sync = Sync(
            stores, own.providers, fetcher, render=render, progress=progress,
            begin_until_s=BEGIN_UNTIL_S if begin_until_s is None else begin_until_s,
        )  # fmt: skip
        return await sync.run(only, force=force, dry_run=dry_run, kind=kind)
    finally:
        await http.aclose()
