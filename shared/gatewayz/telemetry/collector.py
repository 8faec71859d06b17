"""Where telemetry goes: the collector of the standard OTEL_ variables, and who we are to it."""

from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import unquote

from gatewayz import VERSION
from gatewayz.core.ids import new_request_id
from gatewayz.core.settings import Settings, SettingsError
from gatewayz.net.http import HttpClient
from gatewayz.telemetry.context import Sampler
from gatewayz.telemetry.export import Exporter
from gatewayz.telemetry.wire import Value

Signal = Literal["traces", "metrics"]
# A tenth of what goes well says enough of it; what fails is kept whatever the share.
USUAL_SHARE = "0.1"
# Tells instances apart; made anew with each process.
INSTANCE = new_request_id().removeprefix("req_").lower()


def read_headers(text: str) -> dict[str, str]:
    """`key=value,key=value`, values percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has it."""
    headers = {}
    for word in filter(None, (each.strip() for each in text.split(","))):
        name, found, value = word.partition("=")
        if not found or not name.strip():
            raise SettingsError("OTEL_EXPORTER_OTLP_HEADERS is no list of key=value")
        headers[name.strip().lower()] = unquote(value.strip())
    return headers


def sampler_of(settings: Settings) -> Sampler:
    """The rule of the settings, or the usual one."""
    usual = "1" if settings.stage == "local" else USUAL_SHARE
    return Sampler(settings.telemetry.sample or usual)


def resource_of(settings: Settings) -> Mapping[str, Value | None]:
    return {
        "service.name": settings.telemetry.service,
        "service.version": VERSION,
        "service.instance.id": INSTANCE,
        "deployment.environment.name": settings.stage,
        "vcs.ref.head.revision": settings.telemetry.revision or None,
    }


def open_exporter(
    settings: Settings,
    http: HttpClient,
    signal: Signal,
    wrap: Callable[[list[bytes]], bytes],
) -> Exporter | None:
    """None where no collector is set."""
    own = settings.telemetry
    wanted = own.traces if signal == "traces" else own.meters
    if not own.endpoint or wanted == "none":
        return None
    if not own.endpoint.startswith(("http://", "https://")):
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT is no http address")
    url = f"{own.endpoint.rstrip('/')}/v1/{signal}"
    return Exporter(http, url, read_headers(own.headers), wrap)
