"""Reads how a row serves the kinds that are answered whole: embeddings, rerank, moderations.

A kind that `endpoints` of a row of the usual dialect names needs no table: it is served as most do.
Refuses what it does not know.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from gatewayz.dialects.one_shot import FEATURES, KINDS, WIRES, Endpoint
from gatewayz.providers.tables import Table

# Only of rows of this dialect a word in `endpoints` is enough.
USUAL_DIALECT = "openai_chat"
FIELD = r"[a-z][a-z0-9_]{0,63}"
WORD = r"[A-Za-z][A-Za-z0-9_.-]{0,63}"
OWN_FIELDS = frozenset({"model", "input", "query", "documents"})


class Kinds(NamedTuple):
    """`also`: kinds that are called at a base URL of their own."""

    served: Mapping[str, Endpoint]
    also: Mapping[str, str]


def read_kinds(
    table: Table, endpoints: Collection[str], check: Callable[[Table, str], None]
) -> Kinds:
    """The kinds of a row; `check` refuses a base URL."""
    served: dict[str, Endpoint] = {}
    also: dict[str, str] = {}
    for kind in KINDS:
        sub = table.sub(kind)
        if not sub.rest_keys() and kind not in endpoints:
            continue
        url = sub.text("base_url", "").rstrip("/")
        if url:
            check(sub, url)
            also[kind] = url
        served[kind] = _endpoint(sub, kind)
        sub.finish()
    return Kinds(served, also)


def _endpoint(table: Table, kind: str) -> Endpoint:
    rename, words = table.sub("rename"), table.sub("words")
    takes = table.take("takes", list, "a list of features")
    for name in takes or ():
        if name not in FEATURES:
            raise table.fail(
                "takes", f"'{str(name)[:40]}' is none of {', '.join(sorted(FEATURES))}"
            )
    return Endpoint(
        wire=table.choice("wire", WIRES[kind], WIRES[kind][0]),
        takes=None if takes is None else frozenset(takes),
        drop=frozenset(_kept(table, "drop", table.texts("drop", pattern=FIELD))),
        rename={
            name: _kept(table, "rename", (name, rename.text(name, pattern=FIELD)))[1]
            for name in rename.rest_keys()
        },
        defaults=table.sub("defaults").rest(),
        words={name: words.text(name, pattern=WORD) for name in words.rest_keys()},
        max_items=table.count("max_items"),
    )


def _kept(table: Table, key: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    for name in fields:
        if name in OWN_FIELDS:
            raise table.fail(key, f"'{name}' is written by the gateway and cannot change")
    return fields
