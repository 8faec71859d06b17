"""The account kept in a file of this machine: it is there when the stand-in starts again."""

import pickle
from pathlib import Path
from typing import Any

from tests.fakes.stripe.app import FakeStripe


def _parts(fake: FakeStripe) -> list[tuple[Any, tuple[str, ...]]]:
    return [
        (fake.stripe, ("now_s", "numbers", "objects", "events")),
        (fake.payments, ("_behaviour",)),
        (fake.subscriptions, ("_announced",)),
        (fake.checkout, ("_wanted",)),
        (fake.deliveries, ("_seen",)),
        (fake, ("_kept",)),
    ]


def save(fake: FakeStripe, file: Path) -> None:
    state = [{name: getattr(part, name) for name in names} for part, names in _parts(fake)]
    fresh = file.with_suffix(".new")
    fresh.write_bytes(pickle.dumps(state))
    fresh.chmod(0o600)
    fresh.replace(file)


def load(fake: FakeStripe, file: Path) -> None:
    """What was saved, if anything was; another version's file is left out."""
    try:
        state = pickle.loads(file.read_bytes())
        for (part, names), held in zip(_parts(fake), state, strict=True):
            for name in names:
                setattr(part, name, held[name])
    except (OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError):
        return
