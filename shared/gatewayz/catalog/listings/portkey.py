"""The price files of Portkey, one for each provider: US cents per token. A price of 0 in
`default` means unknown.
"""

from collections.abc import Iterator
from typing import Any

from gatewayz.catalog.listings.row import UNITS, RateReader, Row, at, id_of

DEFAULT = "default"
KEYS = {
    "request_token": "input",
    "response_token": "output",
    "cache_read_input_token": "cache_read",
    "cache_write_input_token": "cache_write_5m",
    "request_audio_token": "audio_in",
    "response_audio_token": "audio_out",
}


def read(name: str, item: Any) -> Iterator[Row]:
    """The row of one member of a provider's file, if it states a price."""
    native_id = id_of(name)
    if not native_id or name == DEFAULT:
        return
    stated = at(item, "pricing_config", "pay_as_you_go")
    rates = RateReader(UNITS["cents_per_token"])
    for key, cls in KEYS.items():
        rates.add(cls, at(stated, key, "price"))
    if rates.stated() and not rates.problems:
        yield Row(native_id, rates=rates.stated())
