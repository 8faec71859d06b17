"""Provider keys as the data plane carries them: sealed, with what each may be used for. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A credential of the account's own at a provider, sealed. `always`: what it is good for is
    asked with such keys alone; else a failure may fall back to ours."""

    id: str
    provider: str
    account: str
    sealed: str = field(repr=False)
    always: bool = True
    models: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What it is sealed for."""
        return place_of(self.account, self.provider, self.id)

    def fits(self, provider: str, model: str) -> bool:
        """`models` are patterns over the model's canonical id; none restrict nothing."""
        if provider != self.provider:
            return False
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


def place_of(account: str, provider: str, key_id: str) -> str:
    return f"provider_key|{account}|{provider}|{key_id}"


def read_own(account: str, rows: Sequence[Mapping[str, Any]]) -> tuple[OwnKey, ...]:
    """Of find_principal's answer, in the order in which they are to be tried."""
    return tuple(
        OwnKey(
            row["id"],
            row["provider"],
            account,
            row["sealed"],
            row["always"],
            tuple(row.get("models") or ()),
        )
        for row in rows
    )
