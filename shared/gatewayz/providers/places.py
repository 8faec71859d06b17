"""Where a provider is called now: the place its row, the model and earlier answers ask for.

Owns what this process has learned: which place takes our credential, until when a provider whose
allowance is used up is left alone. Forgets it with the process; never opens a connection.
"""

from urllib.parse import quote

from gatewayz.core import clock
from gatewayz.core.errors import UpstreamAuth, UpstreamExhausted
from gatewayz.dialects.exchange import Exchange
from gatewayz.providers.access import FindSecret, Unreachable, base_url, fill, place_of
from gatewayz.providers.provider import Place, Provider

MODEL = "{model}"


class Places:
    """One per process. `find_secret` gives the operator's values by their names."""

    def __init__(self, find_secret: FindSecret) -> None:
        self._find_secret = find_secret
        self._learned: dict[str, Place] = {}
        self._rests_until_s: dict[str, float] = {}

    def now(self, provider: Provider) -> Place | None:
        """The place that was learned to take our credential; None is the row's own address."""
        return self._learned.get(provider.slug)

    def url(self, provider: Provider, exchange: Exchange, place: Place | None) -> str:
        """The address of this call; UpstreamAuth when a piece of it is not configured here."""
        path = exchange.request.path
        if not (provider.params or provider.places or provider.paths or provider.also):
            return provider.base_url + path
        target, find = exchange.target, self._find_secret
        try:
            fixed = place_of(provider, find, target.native_id)
            if place is not None and fixed is None and target.dialect not in provider.also:
                base = fill(provider, place.base_url, find)
            else:
                base = base_url(provider, find, target.native_id, dialect=target.dialect)
            known = provider.paths.get(path)
            if known is not None:
                model = quote(target.native_id, safe="")
                path = fill(provider, known.replace(MODEL, model), find)
        except Unreachable as error:
            raise UpstreamAuth(
                f"The provider's address is not configured here: {error}.", provider=provider.slug
            ) from None
        return base + path

    # ------------------------------------------------------------------ refusals

    def others(
        self, provider: Provider, used: Place | None, error: UpstreamAuth
    ) -> list[Place | None]:
        """Where else the credential that was refused at `used` may be good."""
        open_to_us = [p for p in provider.places if error.upstream_status in p.after]
        known: list[Place | None] = [None, *open_to_us] if open_to_us else []
        return [place for place in known if place is not used]

    def learn(self, provider: Provider, place: Place | None) -> None:
        """This place took our credential: it is the one from now on."""
        if place is None:
            self._learned.pop(provider.slug, None)
        else:
            self._learned[provider.slug] = place

    # ------------------------------------------------------------------ allowances

    def rest(self, provider: Provider, error: UpstreamExhausted) -> None:
        """Our allowance there is used up: do not ask again for as long as its row says."""
        if provider.quota_rest_s:
            self._rests_until_s[provider.slug] = clock.monotonic_s() + provider.quota_rest_s
            error.retry_after_s = provider.quota_rest_s

    def check_rest(self, provider: Provider) -> None:
        """UpstreamExhausted while the provider is left alone."""
        if not provider.quota_rest_s:
            return
        left_s = self._rests_until_s.get(provider.slug, 0.0) - clock.monotonic_s()
        if left_s > 0:
            raise UpstreamExhausted(
                "Our allowance at the provider is used up.",
                provider=provider.slug,
                retry_after_s=left_s,
            )
