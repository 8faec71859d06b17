"""Flags of a service, read once a minute behind everything and kept in the snapshot.

What is asked is this deployment, not each caller: no customer's id leaves for it. What the
environment says still wins.
"""

from typing import Any

import orjson

from gatewayz.core import clock
from gatewayz.core.log import get_log
from gatewayz.core.settings import Settings, SettingsError
from gatewayz.net.http import HttpClient, NetError
from gatewayz.telemetry.flags import Flag, Flags, load_flags, read_words

log = get_log(__name__)

EVERY_S = 60.0
TIMEOUT_S = 5.0
MAX_BYTES = 1024 * 1024
STATSIG_URL = "https://api.statsig.com"
SERVICES = ("statsig", "posthog")


class RemoteFlags:
    """The snapshot of one process. `current` never waits; `refresh` asks when it is time."""

    def __init__(
        self, settings: Settings, http: HttpClient, *, statsig_url: str = STATSIG_URL
    ) -> None:
        self._own = settings.telemetry
        if self._own.flags_from not in ("", *SERVICES):
            raise SettingsError(f"GATEWAYZ_FLAGS_FROM is one of {', '.join(SERVICES)}")
        self._who = f"{self._own.service}-{settings.stage}"
        self._http = http
        self._statsig_url = statsig_url
        self._base = load_flags(settings)
        self._next_s = 0.0
        self.current: Flags = self._base

    @property
    def due(self) -> bool:
        return bool(self._own.flags_from) and clock.monotonic_s() >= self._next_s

    async def refresh(self) -> None:
        """Ask the service; an outage leaves what was known. Never raises."""
        self._next_s = clock.monotonic_s() + EVERY_S
        try:
            if self._own.flags_from == "posthog":
                found = await self._from_posthog()
            else:
                found = await self._from_statsig()
        except (NetError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            log.warning("flags_not_read", error=type(error).__name__)
            return
        self.current = self._base.over(found).over(read_words(self._own.flags))

    async def _from_posthog(self) -> list[Flag]:
        told = await self._post(
            f"{self._own.posthog_host.rstrip('/')}/flags/?v=2",
            {"api_key": self._own.posthog_key, "distinct_id": self._who},
            {},
        )
        return [
            Flag(name, row.get("variant") or bool(row["enabled"]), source="posthog")
            for name, row in told["flags"].items()
        ]

    async def _from_statsig(self) -> list[Flag]:
        """Each flag that is known here, by its gate."""
        headers = {"statsig-api-key": self._own.statsig_key}
        found = []
        for name in self._base.known:
            body = {"user": {"userID": self._who}, "gateName": name}
            told = await self._post(f"{self._statsig_url}/v1/check_gate", body, headers)
            # A gate that is not there decides nothing.
            if told.get("rule_id"):
                found.append(Flag(name, bool(told["value"]), source="statsig"))
        return found

    async def _post(self, url: str, body: Any, headers: dict[str, str]) -> Any:
        answer = await self._http.request(
            "POST",
            url,
            headers={"content-type": "application/json", **headers},
            body=orjson.dumps(body),
            timeout_s=TIMEOUT_S,
            max_bytes=MAX_BYTES,
        )
        if answer.status >= 300:
            raise NetError(f"it answers {answer.status}")
        return orjson.loads(answer.body)
