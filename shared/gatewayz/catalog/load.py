"""Builds the catalog a process serves from: what ships or is published, the operator's file.

Guarantees that what is servable has an exact price and a provider that can be called from here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.entries import Drafts, build, overlay, read_entries
from gatewayz.catalog.model import Catalog, Entry
from gatewayz.core.settings import CatalogSettings
from gatewayz.providers.access import missing, sign_in
from gatewayz.providers.config import Provider, load_providers
from gatewayz.stores.secrets import Secrets

HERE = Path(__file__).parent
SANDBOX_MODELS = (HERE / "sandbox.toml", HERE / "bundled_embeddings.toml")
BUNDLED_ALIASES = HERE / "aliases.toml"
# How the keys of a gateway begin; `gatewayz env` exports one under the names of providers.
OUR_KEY = "gw_"


@dataclass(frozen=True, slots=True)
class Own:
    """What only this process knows: its providers, the sandbox's and the operator's models.

    `catalog` has those models that stand for themselves; `drafts` the operator's by id, because
    an offer of his may belong to a model that everybody knows.
    """

    providers: Mapping[str, Provider]
    ready: frozenset[str]
    catalog: Catalog
    drafts: Drafts


def load_own(settings: CatalogSettings, secrets: Secrets | None = None) -> Own:
    """Without the catalog that ships or is published. SettingsError (one line) on a wrong file."""
    secrets = secrets or Secrets()
    extra = _extra_file(settings)
    providers = {
        slug: _without_optional_credential(provider, secrets)
        for slug, provider in load_providers(extra, sandbox_url=settings.sandbox_url).items()
    }
    ready = frozenset(p.slug for p in providers.values() if can_call(p, secrets))
    sandbox: Drafts = {}
    own = {slug: provider for slug, provider in providers.items() if provider.sandbox}
    for file in SANDBOX_MODELS if own else ():
        read_entries(file, sandbox, own, bundled=True)
    drafts: Drafts = {}
    if extra is not None:
        read_entries(extra, drafts, providers, bundled=False)
    entries = build({**sandbox, **drafts}, providers)
    return Own(providers, ready, Catalog(entries, aliases={}, ready=ready), drafts)


def load_catalog(
    settings: CatalogSettings,
    secrets: Secrets | None = None,
    *,
    entries: Iterable[Entry] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> tuple[Mapping[str, Provider], Catalog]:
    """Providers by slug and the whole catalog over them, for who shows it all.

    `entries` and `aliases` take the place of those that ship with the code. SettingsError.
    """
    own = load_own(settings, secrets)
    listed = open_bundle().entries() if entries is None else entries
    named = open_bundle().aliases() if aliases is None else aliases
    return own.providers, whole_catalog(own, listed, named)


def whole_catalog(own: Own, entries: Iterable[Entry], aliases: Mapping[str, str]) -> Catalog:
    """`entries` as this process can serve them, with the models that only it knows."""
    known: dict[str, Entry] = {}
    for entry in entries:
        offers = tuple(o for o in entry.offers if o.provider in own.providers)
        if offers:
            known[entry.model.id] = replace(entry, offers=offers)
    for entry in own.catalog.entries():
        draft, listing = own.drafts.get(entry.model.id), known.get(entry.model.id)
        known[entry.model.id] = overlay(listing, draft) if draft and listing else entry
    return Catalog(known.values(), aliases=aliases, ready=own.ready)


def credentials_here(settings: CatalogSettings, secrets: Secrets | None = None) -> tuple[str, ...]:
    """Names of the providers' credentials that this process has, in the order of the alphabet."""
    secrets = secrets or Secrets()
    providers = load_providers(_extra_file(settings)).values()
    return tuple(sorted({p.credential for p in providers if p.credential and can_call(p, secrets)}))


def providers_file(settings: CatalogSettings) -> str:
    """The operator's file as a whole path, "" when there is none."""
    extra = _extra_file(settings)
    return "" if extra is None else str(extra.resolve())


def _extra_file(settings: CatalogSettings) -> Path | None:
    return Path(settings.providers_file).expanduser() if settings.providers_file else None


def can_call(provider: Provider, secrets: Secrets) -> bool:
    """True when this process has what the provider asks for, and it is not switched off."""
    if not provider.enabled or missing(provider, secrets.find):
        return False
    return not holds_our_key(provider, secrets)


def holds_our_key(provider: Provider, secrets: Secrets) -> bool:
    """True when the credential is a gateway's key: it is no provider's, and never sent to one."""
    way = sign_in(provider, secrets.find)
    return way is not None and (secrets.find(way.credential) or "").startswith(OUR_KEY)


def _without_optional_credential(provider: Provider, secrets: Secrets) -> Provider:
    """Servers of one's own mostly ask for no key; they get one when one is set."""
    if provider.local and provider.credential and not can_call(provider, secrets):
        return replace(provider, credential="")
    return provider
