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


def load_catalog(
    settings: CatalogSettings, secrets: Secrets | None = None
) -> tuple[Mapping[str, Provider], Catalog]:
    """Providers by slug and the catalog over them; SettingsError (one line) on a wrong file."""
    secrets = secrets or Secrets()
    extra = Path(settings.providers_file).expanduser() if settings.providers_file else None
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


def can_call(provider: Provider, secrets: Secrets) -> bool:
    """True when this process has what the provider asks for."""
    return not provider.credential or secrets.find(provider.credential) is not None


def _without_optional_credential(provider: Provider, secrets: Secrets) -> Provider:
    """Servers of one's own mostly ask for no key; they get one when one is set."""
    if provider.local and provider.credential and not can_call(provider, secrets):
        return replace(provider, credential="")
    return provider
