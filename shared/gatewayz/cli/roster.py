"""The providers as the doctor sees them: which can be called from here, what is missing for the
rest, and whether a credential is taken. Also the README's table of them.

Reads only: a credential is tried at its provider's cheapest endpoint, the model list, and its value
is never shown.
"""

import asyncio
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from gatewayz.catalog.load import holds_our_key
from gatewayz.cli.finding import Finding
from gatewayz.core.errors import UpstreamAuth, UpstreamError
from gatewayz.net.http import HttpClient, NetError
from gatewayz.providers.access import Unreachable, base_url, fill, missing, sign_in
from gatewayz.providers.auth import Signer
from gatewayz.providers.config import load_providers
from gatewayz.providers.provider import Provider
from gatewayz.stores.secrets import Secrets

LISTING = "/models"
PROBE_S = 10.0
MAX_LIST_BYTES = 16 * 1024 * 1024
BEGIN, END = "<!-- providers -->\n", "<!-- /providers -->"


async def check_roster(
    http: HttpClient, providers: Iterable[Provider], secrets: Secrets
) -> list[Finding]:
    """A finding for each provider, those that are configured first; one's own servers that are
    looked for apart, since the catalog finds them by itself."""
    rows = [p for p in providers if not (p.local and p.ports)]
    signer = Signer(http, secrets.find)
    found = await asyncio.gather(*(_check(http, signer, row, secrets) for row in rows))
    return sorted(found, key=lambda finding: finding.mark == "off")


async def _check(http: HttpClient, signer: Signer, row: Provider, secrets: Secrets) -> Finding:
    if not row.enabled:
        return Finding("off", row.name, "switched off in providers.toml")
    way = sign_in(row, secrets.find)
    if way is not None and holds_our_key(row, secrets):
        mend = "Put the provider's own key there, or unset it."
        return Finding("warn", row.name, f"{way.credential} holds a Gatewayz key: ignored", mend)
    if lacking := missing(row, secrets.find):
        state = f"not configured (set {' and '.join(lacking)})"
        if way is not None and secrets.find(way.credential):
            return Finding("warn", row.name, state, "Its credential is there, the rest is not.")
        return Finding("off", row.name, state)
    try:
        return await _try(http, signer, row, secrets)
    except (Unreachable, UpstreamAuth) as error:
        what = error if isinstance(error, Unreachable) else error.message
        return Finding("bad", row.name, str(what), f"Check {_names(row, secrets)}.")
    except UpstreamError as error:
        return Finding("bad", row.name, error.message, "Try again later.")
    except NetError as error:
        if row.local:
            return Finding("off", row.name, f"no server answers at {row.base_url}")
        mend = "Check the network of this machine: DNS, proxy, firewall."
        return Finding("bad", row.name, f"cannot be reached ({type(error).__name__})", mend)


async def _try(http: HttpClient, signer: Signer, row: Provider, secrets: Secrets) -> Finding:
    url = _list_url(row, secrets)
    headers: Mapping[str, str] = dict(row.headers)
    if (way := sign_in(row, secrets.find)) is not None:
        headers = await signer.sign(way, "GET", url, headers=headers, body=b"")
    answer = await http.request(
        "GET", url, headers=headers, timeout_s=PROBE_S, max_bytes=MAX_LIST_BYTES
    )
    status = answer.status
    if status in (401, 403) and not any(status in place.after for place in row.places):
        mend = f"Put a valid key into {_names(row, secrets)}."
        return Finding("bad", row.name, f"refuses the credential ({status})", mend)
    if status in (401, 403):
        return Finding("warn", row.name, f"refuses the credential here ({status})", "It may be one"
                       " of another region: the first request will tell.")  # fmt: skip
    if status == 402:
        return Finding("bad", row.name, "has no credit for us (402)", "Pay its bill.")
    if status in (404, 405):
        return Finding("ok", row.name, "configured; it has no list to try the credential on")
    if status >= 400:
        return Finding("warn", row.name, f"answers {status}", "Try again later.")
    return Finding("ok", row.name, "takes the credential" if way is not None else "answers")


def _list_url(row: Provider, secrets: Secrets) -> str:
    """A list that is public says nothing about a credential."""
    path = LISTING if row.listing is None or row.listing.public else row.listing.path
    path = fill(row, path, secrets.find)
    return path if path.startswith("https://") else base_url(row, secrets.find) + path


def _names(row: Provider, secrets: Secrets) -> str:
    way = sign_in(row, secrets.find)
    names = [] if way is None else [way.credential]
    return " and ".join([*names, *(param.names[0] for param in row.params.values())])


# ---------------------------------------------------------------- the README's table


def roster_table(providers: Iterable[Provider]) -> str:
    """Markdown: a line for each provider, with what has to be set for it."""
    lines = ["| provider | speaks | serves | set |", "| --- | --- | --- | --- |"]
    for row in providers:
        if row.sandbox:
            continue
        name = row.name if row.enabled else f"{row.name} (switched off)"
        speaks = ", ".join([row.dialect, *(name for name in row.also if name not in row.kinds)])
        serves = ", ".join(sorted(row.endpoints - {"models"}))
        lines.append(f"| {name} `{row.slug}` | {speaks} | {serves} | {_wanted(row)} |")
    return "\n".join(lines) + "\n"


def _wanted(row: Provider) -> str:
    if row.local:
        port = f"found on port {' or '.join(map(str, row.ports))}"
        port = port if row.ports else "its models stand in a file of yours"
        return f"{port}; `{row.credential}` if it asks for a key" if row.credential else port
    wanted = [" or ".join(f"`{way.credential}`" for way in row.sign_ins)]
    for param in row.params.values():
        names = f"`{param.names[0]}`"
        wanted.append(names if param.default is None else f"[{names}]")
    return ", ".join(wanted)


def write_table(page: Path) -> None:
    """Put the bundled providers' table between the page's markers."""
    head, _, rest = page.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(f"{head}{BEGIN}{roster_table(load_providers().values())}{END}{tail}")


if __name__ == "__main__":
    write_table(Path(sys.argv[1]))
