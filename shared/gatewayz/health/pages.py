"""What the status functions show, as plain objects: overviews, models, providers, curves.

Field names are those that the existing frontend and monitors read (behaviour.md §2.11). A figure
without data is null.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gatewayz.health.maintenance import current, in_maintenance
from gatewayz.health.report import (
    PERIODS,
    Stand,
    Word,
    by_model,
    by_provider,
    word_of_model,
    word_of_system,
)
from gatewayz.health.rows import (
    Page,
    breaker_page,
    counts_of,
    efficiency_of,
    incident_page,
    is_available,
    model_page,
    now_text,
    point_of,
    provider_page,
    text_of,
)
from gatewayz.health.windows import Row, Windows
from gatewayz.providers.provider import Provider
from gatewayz.routing.view import Health

MESSAGES: Mapping[Word, str] = {
    "operational": "All systems operational",
    "degraded": "Some models are degraded",
    "partial_outage": "Some models are down",
    "major_outage": "Many models are down",
    "offline": "Everything is down",
    "unknown": "Nothing was measured yet",
}
# A unit on a page is a provider or a model; the frontend calls a provider a gateway too.
MIN_ANOMALY_REQUESTS = 20


class Pages:
    """Builds pages from the windows and the shared breakers."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    async def _open(self, rows: Iterable[Row]) -> set[str]:
        """Offers and providers whose breaker is open."""
        entries, now_s = await self.breaker_view(rows)
        return {name for name, health in entries.items() if health.open_until_s > now_s}

    async def breaker_view(self, rows: Iterable[Row]) -> tuple[Mapping[str, Health], float]:
        scopes = [name for row in rows for name in (row["provider"], row["offer"])]
        return await self._windows.breakers(scopes)

    # ------------------------------------------------------------ the public status page

    async def overview(self) -> Page:
        rows = await self._windows.rows()
        closed_to = await self._open(rows)
        models = {name: self._word(stand, closed_to) for name, stand in by_model(rows).items()}
        word = word_of_system(models.values())
        whole = Stand(rows)
        active = await self._windows.incidents(active=True)
        return {
            "status": word,
            "status_message": MESSAGES[word],
            "uptime_percentage": whole.spans["d1"].uptime,
            "total_models": len(models),
            "healthy_models": sum(w == "operational" for w in models.values()),
            "degraded_models": sum(w in ("degraded", "partial_outage") for w in models.values()),
            "offline_models": sum(w in ("offline", "major_outage") for w in models.values()),
            "total_providers": len(by_provider(rows)),
            "total_gateways": len(by_provider(rows)),
            "active_incidents": len(active),
            "last_updated": now_text(),
        }

    def _word(self, stand: Stand, closed_to: set[str]) -> Word:
        is_open = bool(stand.rows) and all(
            row["offer"] in closed_to or row["provider"] in closed_to for row in stand.rows
        )
        return word_of_model(stand, is_open=is_open)

    async def providers(self) -> list[Page]:
        rows = await self._windows.rows()
        closed_to = await self._open(rows)
        return [
            provider_page(slug, stand, is_open=slug in closed_to)
            for slug, stand in by_provider(rows).items()
        ]

    async def models(
        self, *, provider: str | None = None, text: str = "", status: str | None = None
    ) -> list[Page]:
        """One row for each model at each provider."""
        rows = await self._windows.rows(provider=provider)
        closed_to = await self._open(rows)
        pages = []
        for row in rows:
            if text and text.lower() not in f"{row['model']} {row['provider']}".lower():
                continue
            stand = Stand([row])
            page = model_page(row, stand, self._word(stand, closed_to))
            if status is None or page["status"] == status:
                pages.append(page)
        return pages

    async def model(self, provider: str, model: str) -> Page | None:
        rows = await self._windows.rows(provider=provider, model=model)
        if not rows:
            return None
        stand = Stand(rows)
        page = model_page(rows[0], stand, self._word(stand, await self._open(rows)))
        return page | {
            "latency": stand.percentiles("latency_d1"),
            "throughput": stand.percentiles("throughput_d1"),
            "incidents": [
                incident_page(i)
                for i in await self._windows.incidents(provider=provider, model=model)
            ],
        }

    async def uptime(self, provider: str, model: str, period: str) -> Page | None:
        rows = await self._windows.rows(provider=provider, model=model)
        if not rows:
            return None
        figures = Stand(rows).spans[PERIODS[period]]
        span_s, since_s = {"24h": (3600, 86_400), "7d": (3600, 604_800),
                           "30d": (86_400, 2_592_000)}[period]  # fmt: skip
        series = await self._windows.series(
            provider=provider, model=model, span_s=span_s, since_s=since_s
        )
        return {
            "provider": provider,
            "model_id": model,
            "period": period,
            "uptime_percentage": figures.uptime,
            "total_checks": figures["requests"],
            "failed_checks": figures["errors"],
            "points": [point_of(row) for row in series],
        }

    async def incidents(self, **asked: Any) -> list[Page]:
        return [incident_page(i) for i in await self._windows.incidents(**asked)]

    async def stats(self) -> Page:
        rows = await self._windows.rows()
        whole = Stand(rows)
        day = whole.spans["d1"]
        return {
            "total_models": len(by_model(rows)),
            "total_providers": len(by_provider(rows)),
            "total_offers": len(rows),
            "requests_24h": day["requests"],
            "success_rate_24h": day.uptime,
            "average_response_time_ms": day.average_ms,
            "tokens_24h": day["prompt_tokens"] + day["output_tokens"],
            "latency": whole.percentiles("latency_d1"),
            "throughput": whole.percentiles("throughput_d1"),
            "last_updated": now_text(),
        }

    async def gateway(self, provider: Provider, *, configured: bool) -> Page:
        """One back end, also one that nobody asked yet: then nothing is known."""
        rows = await self._windows.rows(provider=provider.slug)
        closed_to = await self._open(rows)
        page = provider_page(provider.slug, Stand(rows), is_open=provider.slug in closed_to)
        return page | {"name": provider.name, "configured": configured}

    async def requests(self, *, by: str) -> list[Page]:
        """What was asked in a day, by model or by provider, the most first."""
        rows = await self._windows.rows()
        stands = by_model(rows) if by == "model" else by_provider(rows)
        pages = [{by: name, **counts_of(stand)} for name, stand in stands.items()]
        return sorted(pages, key=lambda page: -page["requests"])

    # ------------------------------------------------------------ monitoring

    async def curve(self, provider: str | None, *, span_s: int, since_s: int) -> list[Page]:
        rows = await self._windows.series(provider=provider, span_s=span_s, since_s=since_s)
        return [point_of(row) for row in rows]

    async def errors(self, provider: str) -> Page:
        rows = await self._windows.rows(provider=provider)
        day = Stand(rows).spans["d1"]
        failing = sorted((row for row in rows if row["failures"]), key=lambda row: -row["failures"])
        return {
            "provider": provider,
            "total_errors": day["errors"],
            "timeouts": day["timeouts"],
            "throttled": day["throttled"],
            "error_rate": day.error_rate,
            "errors": [
                {
                    "model": row["model"],
                    "consecutive_failures": row["failures"],
                    "error_type": row["last_class"],
                    "status_code": row["last_status"],
                    "at": text_of(row["last_failure_at_ms"]),
                }
                for row in failing
            ],
        }

    async def anomalies(self) -> list[Page]:
        """What differs from its own day: errors or speed of the last half hour."""
        found = []
        for row in await self._windows.rows():
            stand = Stand([row])
            now, day = stand.spans["m30"], stand.spans["d1"]
            if now["requests"] < MIN_ANOMALY_REQUESTS:
                continue
            kinds = []
            if (now.error_rate or 0) >= max(10.0, 3 * (day.error_rate or 0)):
                kinds.append(("error_rate", now.error_rate, day.error_rate))
            if now.average_ms and day.average_ms and now.average_ms >= 2 * day.average_ms:
                kinds.append(("latency", now.average_ms, day.average_ms))
            found += [
                {
                    "provider": row["provider"],
                    "model": row["model"],
                    "type": kind,
                    "value": value,
                    "expected": usual,
                }
                for kind, value, usual in kinds
            ]
        return found

    async def availability(self, model: str) -> Page | None:
        """A model's offers, the best first: available, then by uptime, then by speed."""
        rows = [row for row in await self.models() if row["model"] == model]
        if not rows:
            return None
        resting = await current(self._windows.stores)
        for row in rows:
            row["maintenance"] = in_maintenance(resting, model=model, provider=row["provider"])
            row["available"] = False if row["maintenance"] else is_available(row)
        rows.sort(key=_worse)
        answers = [row["available"] for row in rows if row["available"] is not None]
        return {
            "model": model,
            "available": any(answers) if answers else None,
            "best": rows[0]["provider"],
            "providers": rows,
        }

    async def stand(self, **narrowed: Any) -> Stand:
        return await self._windows.stand(**narrowed)

    async def costs(self) -> list[Page]:
        """What each provider cost in a day, the dearest first."""
        stands = by_provider(await self._windows.rows())
        order = sorted(stands.items(), key=lambda pair: -pair[1].spans["d1"]["cost_nanos"])
        return [{"provider": slug, **efficiency_of(stand)} for slug, stand in order]

    async def breakers(self, provider: str | None = None) -> list[Page]:
        """State of each provider's breaker and of its offers'."""
        rows = await self._windows.rows(provider=provider)
        entries, now_s = await self.breaker_view(rows)
        pages = []
        for slug, stand in by_provider(rows).items():
            known = entries.get(slug)
            pages.append(
                breaker_page(slug, known, now_s)
                | {
                    "provider": slug,
                    "offers": [
                        breaker_page(row["offer"], entries.get(row["offer"]), now_s)
                        | {"model": row["model"]}
                        for row in stand.rows
                    ],
                }
            )
        return pages


def _worse(row: Page) -> tuple[bool, float, float]:
    speed = row["average_response_time_ms"]
    uptime = row["uptime_percentage"] or 0.0
    return row["available"] is False, -uptime, float("inf") if speed is None else speed
