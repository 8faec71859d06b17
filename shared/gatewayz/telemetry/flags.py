"""Feature flags as one frozen snapshot: what the code knows, the file, the environment, a service.

Guarantees that asking is a look into memory, on the hot path too; that a flag nobody declared is
off; and that a service which is away leaves what was last known. `telemetry/openfeature.py` gives
the same through the OpenFeature SDK.
"""

import hashlib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatewayz.core.settings import Settings, SettingsError

SHARES = 10_000
Value = bool | str | int | float | dict[str, Any] | list[Any]
# Every flag of the code, and what it is when nobody says otherwise. A flag is for a change under
# way: it goes when the change stays. Those that switch something off in trouble stay.
DECLARED: Mapping[str, Value] = {
    "stream-continuation": True,  # an answer that is cut goes on at another offer
}


@dataclass(frozen=True, slots=True)
class Flag:
    """`share`: for how many of those who ask (by their key) `value` holds; the others have `other`.
    `keys`: for whom it holds whatever the share."""

    name: str
    value: Value
    share: int = SHARES
    keys: frozenset[str] = frozenset()
    other: Value = False
    source: str = "code"

    def of(self, key: str | None) -> tuple[Value, str]:
        """(value, why) for whoever asks."""
        if key is not None and key in self.keys:
            return self.value, "TARGETING_MATCH"
        if self.share >= SHARES:
            return self.value, "STATIC"
        if self.share > 0 and key is not None and place_of(self.name, key) < self.share:
            return self.value, "SPLIT"
        return self.other, "SPLIT" if self.share else "STATIC"


def place_of(name: str, key: str) -> int:
    """The same for ever for a flag and a key; another flag shares them out anew."""
    digest = hashlib.blake2s(f"{name}\x1f{key}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % SHARES


@dataclass(frozen=True, slots=True)
class Flags:
    """All of them at one moment."""

    known: Mapping[str, Flag] = field(default_factory=dict)

    def on(self, name: str, key: str | None = None) -> bool:
        """Is it on for `key` (an account)? Anything but a plain yes is a no."""
        flag = self.known.get(name)
        return flag is not None and flag.of(key)[0] is True

    def over(self, others: Collection[Flag]) -> "Flags":
        return Flags({**self.known, **{flag.name: flag for flag in others}})


def read_words(text: str) -> list[Flag]:
    """`new-page=on beta=25% model=big`; SettingsError on what is none."""
    flags = []
    for word in text.split():
        name, found, value = word.partition("=")
        if not name or not found or not value:
            raise SettingsError(f"GATEWAYZ_FLAGS: {word[:40]!r} is no name=value")
        flags.append(_read_word(name, value))
    return flags


def _read_word(name: str, value: str) -> Flag:
    if value in ("on", "true"):
        return Flag(name, True, source="environment")
    if value in ("off", "false"):
        return Flag(name, False, source="environment")
    if value.endswith("%"):
        try:
            share = round(float(value[:-1]) * SHARES / 100)
        except ValueError:
            share = -1
        if not 0 <= share <= SHARES:
            raise SettingsError(f"GATEWAYZ_FLAGS: {name}={value[:20]!r} is no share")
        return Flag(name, True, share, source="environment")
    return Flag(name, value, source="environment")


def read_file(path: Path) -> list[Flag]:
    """A table a flag: value, share (0 to 1), keys, other. SettingsError says what is wrong."""
    try:
        rows = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"GATEWAYZ_FLAGS_FILE: {error}") from None
    flags = []
    for name, row in rows.items():
        if not isinstance(row, dict) or row.keys() - {"value", "share", "keys", "other"}:
            raise SettingsError(f"GATEWAYZ_FLAGS_FILE: [{name}] has value, share, keys and other")
        share = row.get("share", 1)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise SettingsError(f"GATEWAYZ_FLAGS_FILE: [{name}] share is from 0 to 1")
        flags.append(
            Flag(
                name,
                row.get("value", True),
                round(share * SHARES),
                frozenset(map(str, row.get("keys", ()))),
                row.get("other", False),
                "file",
            )
        )
    return flags


def load_flags(settings: Settings) -> Flags:
    """Those of the code, over them the file's, over them the environment's."""
    own = settings.telemetry
    flags = Flags({name: Flag(name, value) for name, value in DECLARED.items()})
    if own.flags_file:
        flags = flags.over(read_file(Path(own.flags_file).expanduser()))
    return flags.over(read_words(own.flags)) if own.flags else flags
