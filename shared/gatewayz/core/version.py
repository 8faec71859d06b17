"""Which release answers: its version and commit, as headers, pages and reports tell them."""

from gatewayz import VERSION
from gatewayz.core.settings import Settings

HEADER = b"x-gatewayz-version"


def release_of(settings: Settings) -> str:
    """`0.1.0`, or `0.1.0+4220d1cabcde` where the commit is known."""
    revision = settings.telemetry.revision
    return f"{VERSION}+{revision}" if revision else VERSION


def version_headers(settings: Settings) -> list[tuple[bytes, bytes]]:
    return [(HEADER, release_of(settings).encode("ascii", "replace"))]
