"""Reports ERROR lines to a service that speaks Sentry's protocol, scrubbed as all lines are (F88).

Owns the address (DSN), the envelope and the tunnel's rule. Guarantees that a report holds what the
log line holds and no more: no prompt, answer, key or header; and that a storm of one error is a few
reports a minute.
"""

import asyncio
import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from gatewayz import VERSION
from gatewayz.core import clock, version
from gatewayz.core.errors import Forbidden, InvalidRequest
from gatewayz.core.log import json_line
from gatewayz.core.settings import Settings, SettingsError
from gatewayz.net.http import HttpClient
from gatewayz.telemetry.export import Exporter

CLIENT = f"gatewayz/{VERSION}"
MEDIA = "application/x-sentry-envelope"
MAX_PER_MINUTE = 10
MAX_ENVELOPE_BYTES = 1024 * 1024
_PROJECT = re.compile(r"/(?:[\w/-]*/)?\d+")
# Of a line: what is said elsewhere in a report.
PLACED = frozenset({"at", "level", "event", "error", "trace", "detail"})


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where a project takes its reports."""

    key: str
    url: str
    host: str
    project: str


def read_dsn(text: str) -> Dsn:
    """The parts of `https://key@host/project`; SettingsError, which repeats nothing of it."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.username:
        raise SettingsError("SENTRY_DSN is no address of the form https://key@host/project")
    if not _PROJECT.fullmatch(parts.path):
        raise SettingsError("SENTRY_DSN names no project")
    head, _, project = parts.path.rpartition("/")
    host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    url = f"{parts.scheme}://{host}{head}/api/{project}/envelope/"
    return Dsn(parts.username, url, host, project)


def release_of(settings: Settings) -> str:
    own = settings.telemetry
    if own.sentry_release:
        return own.sentry_release
    return f"gatewayz@{version.release_of(settings)}"


def envelope(line: Mapping[str, Any], settings: Settings, logger: str) -> bytes:
    """A log line as one event."""
    at = datetime.fromtimestamp(clock.now_ms() / 1000, tz=UTC).isoformat()
    event_id = uuid.uuid4().hex
    event: dict[str, Any] = {
        "event_id": event_id,
        "timestamp": at,
        "platform": "python",
        "level": str(line["level"]).lower(),
        "logger": logger,
        "release": release_of(settings),
        "environment": settings.telemetry.sentry_environment or settings.stage,
        "logentry": {"formatted": line["event"]},
        # One issue an event and error, whatever the fields say.
        "fingerprint": [line["event"], str(line.get("error", ""))],
        "tags": {"event": line["event"]},
        "extra": {name: value for name, value in line.items() if name not in PLACED},
    }
    if "request_id" in line:
        event["tags"]["request_id"] = line["request_id"]
    if "trace" in line:
        event["exception"] = {"values": [{"type": line.get("error"), "value": line.get("detail")}]}
        event["extra"]["trace"] = line["trace"]
    payload = orjson.dumps(event, default=str)
    head = orjson.dumps({"event_id": event_id, "sent_at": at})
    item = orjson.dumps({"type": "event", "length": len(payload)})
    return b"\n".join((head, item, payload, b""))


class Reporter(logging.Handler):
    """Takes our ERROR lines; sends them behind the work, one by one."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        super().__init__(logging.ERROR)
        dsn = read_dsn(settings.telemetry.sentry_dsn)
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._minute = (0, dict[str, int]())
        auth = f"Sentry sentry_version=7, sentry_client={CLIENT}, sentry_key={dsn.key}"
        self.exporter = Exporter(
            http, dsn.url, {"x-sentry-auth": auth, "user-agent": CLIENT}, b"".join,
            media=MEDIA, most_parts=1,
        )  # fmt: skip

    def emit(self, record: logging.LogRecord) -> None:
        if not self._room(record.getMessage()) or self._loop.is_closed():
            return
        data = envelope(json_line(record), self._settings, record.name)
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self.exporter.add(data)
        else:
            self._loop.call_soon_threadsafe(self.exporter.add, data)

    def _room(self, event: str) -> bool:
        minute = int(clock.monotonic_s() // 60)
        if self._minute[0] != minute:
            self._minute = (minute, {})
        counts = self._minute[1]
        counts[event] = counts.get(event, 0) + 1
        return counts[event] <= MAX_PER_MINUTE


def tunnelled(body: bytes, dsn_text: str) -> tuple[str, bytes]:
    """Where a browser's envelope goes: to the one project of the settings, and nowhere else.

    InvalidRequest when it is none, Forbidden when it is for somebody else.
    """
    own = read_dsn(dsn_text)
    head, found, _ = body.partition(b"\n")
    try:
        told = orjson.loads(head)
        given = read_dsn(str(told["dsn"]))
    except (orjson.JSONDecodeError, SettingsError, KeyError, TypeError, ValueError):
        raise InvalidRequest("This is no envelope with a DSN.") from None
    if not found:
        raise InvalidRequest("This is no envelope with a DSN.")
    if given != own:
        raise Forbidden("Reports of this project are not passed on.", code="tunnel_not_allowed")
    return own.url, body
