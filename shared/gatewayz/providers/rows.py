"""Reads the parts of a provider's row that say where it is and what it is like: further addresses,
paths, its list of models, what it does with data. Refuses what it does not know.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from gatewayz.providers.provider import (
    DataPolicy,
    Listing,
    Param,
    Place,
    PriceUnit,
    Variant,
)
from gatewayz.providers.tables import Table

UNITS: tuple[PriceUnit, ...] = get_args(PriceUnit)
PLACE = r"[a-z][a-z0-9-]{0,31}"
KIND = r"[a-z][a-z0-9_]{0,39}"
PATH = r"/[^\s#]*"
LIST_PATH = r"(/[^\s#]*|https://[^\s#]+)"
PATTERN = r"[A-Za-z0-9*?@._:/-]+"
# A path may also hold the offer's own name.
MODEL_PARAM = "model"

CheckUrl = Callable[[Table, str], None]


def read_places(table: Table, check: CheckUrl) -> tuple[Place, ...]:
    """The `places` of a row, in the order in which they stand."""
    holder = table.sub("places")
    places = []
    for name in holder.rest_keys():
        if not re.fullmatch(PLACE, name):
            raise holder.fail(name, f"is not of the form {PLACE}")
        sub = holder.sub(name)
        base_url = sub.text("base_url").rstrip("/")
        check(sub, base_url)
        when = sub.sub("when")
        place = Place(
            name,
            base_url,
            models=sub.texts("models", pattern=PATTERN),
            when={key: when.text(key) for key in when.rest_keys()},
            after=_statuses(sub),
        )
        if not (place.models or place.when or place.after):
            raise holder.fail(name, "says not when it is used: models, when or after")
        sub.finish()
        places.append(place)
    return tuple(places)


def read_variants(
    table: Table, dialects: frozenset[str], checked: Callable[[Table], Mapping[str, object]]
) -> tuple[Variant, ...]:
    """The `variants` of a row. `dialects` are those it speaks; `checked` reads the keys that a
    variant shares with a row."""
    variants = []
    for index, data in enumerate(table.take("variants", list, "a list of tables") or []):
        sub = Table(table.file, f"{table.name}.variants[{index}]", data)
        models = sub.texts("models", pattern=PATTERN)
        if not models:
            raise sub.fail("models", "is missing")
        dialect = sub.text("dialect", "")
        if dialect and dialect not in dialects:
            raise sub.fail("dialect", f"'{dialect[:40]}' is none that the provider speaks")
        variant = replace(Variant(models, dialect=dialect), **cast(Any, checked(sub)))
        sub.finish()
        variants.append(variant)
    return tuple(variants)


def _statuses(table: Table) -> frozenset[int]:
    statuses = table.take("after", list, "a list of statuses") or []
    for status in statuses:
        if type(status) is not int or not 400 <= status < 500:
            raise table.fail("after", f"{str(status)[:20]!r} is no status of a refusal")
    return frozenset(statuses)


def read_paths(table: Table, params: Mapping[str, Param]) -> Mapping[str, str]:
    """What stands in place of a dialect's own path; {model} is the offer's native id."""
    sub = table.sub("paths")
    paths = {}
    for name in sub.rest_keys():
        if not re.fullmatch(PATH, name):
            raise sub.fail(name, "is no path of a dialect")
        path = sub.text(name, pattern=PATH)
        for param in re.findall(r"\{([^}]*)\}", path):
            if param != MODEL_PARAM and param not in params:
                raise sub.fail(name, f"{{{param[:40]}}} is none of the row's params")
        paths[name] = path
    return paths


def read_listing(table: Table) -> Listing | None:
    """How its list of models is read; None when it has none."""
    sub = table.sub("listing")
    if not sub.rest_keys():
        return None
    listing = Listing(
        kind=sub.text("kind", pattern=KIND),
        price_unit=cast(PriceUnit, sub.choice("price_unit", UNITS, "none")),
        path=sub.text("path", "/models", pattern=LIST_PATH),
        public=sub.flag("public"),
    )
    sub.finish()
    return listing


def read_data(table: Table) -> DataPolicy:
    policy = DataPolicy(
        trains=table.take("trains", bool, "true or false"),
        retains=table.take("retains", bool, "true or false"),
        zdr=table.flag("zdr"),
        confidential=table.flag("confidential"),
    )
    table.finish()
    return policy
