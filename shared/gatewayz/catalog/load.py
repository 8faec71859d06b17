"""Builds the catalog a process serves from: bundled data, the operator's file.

Guarantees that what is servable has an exact price and a provider that can be called from here.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gatewayz.catalog.entries import Drafts, build, read_aliases, read_entries
from gatewayz.catalog.model import Catalog
from gatewayz.core.settings import CatalogSettings
from gatewayz.providers.config import Provider, load_providers
from gatewayz.stores.secrets import Secrets

HERE = Path(__file__).parent
BUNDLED_MODELS = HERE / "bundled.toml"
BUNDLED_ALIASES = HERE / "aliases.toml"
# How the keys of a gateway begin; `gatewayz env` exports one under the names of providers.
OUR_KEY = "gw_"


def load_catalog(
    settings: CatalogSettings, secrets: Secrets | None = None
) -> tuple[Mapping[str, Provider], Catalog]:
    """Providers by slug and the catalog over them; SettingsError (one line) on a wrong file."""
    secrets = secrets or Secrets()
    extra = _extra_file(settings)
    providers = {
        slug: _without_optional_credential(provider, secrets)
        for slug, provider in load_providers(extra, sandbox_url=settings.sandbox_url).items()
    }
    drafts: Drafts = {}
    read_entries(BUNDLED_MODELS, drafts, providers, bundled=True)
    if extra is not None:
        read_entries(extra, drafts, providers, bundled=False)
    ready = frozenset(p.slug for p in providers.values() if can_call(p, secrets))
    entries = build(drafts, providers)
    return providers, Catalog(entries, aliases=read_aliases(BUNDLED_ALIASES), ready=ready)


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
    """True when this process has what the provider asks for."""
    if not provider.credential:
        return True
    return secrets.find(provider.credential) is not None and not holds_our_key(provider, secrets)


def holds_our_key(provider: Provider, secrets: Secrets) -> bool:
    """True when the credential is a gateway's key: it is no provider's, and never sent to one."""
    return bool(provider.credential) and (secrets.find(provider.credential) or "").startswith(
        OUR_KEY
    )


def _without_optional_credential(provider: Provider, secrets: Secrets) -> Provider:
    """Servers of one's own mostly ask for no key; they get one when one is set."""
    if provider.local and provider.credential and not can_call(provider, secrets):
        return replace(provider, credential="")
    return provider
