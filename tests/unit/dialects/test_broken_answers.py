"""Answers of providers in which one value is something else: read, or a failure of the provider's.

Nothing that a provider sends may raise anything but an UpstreamError, whole or streamed (F33, F37).
"""

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.anthropic.answer import decode_answer
from gatewayz.dialects.anthropic.stream import MessagesStream
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.dialects.translated import read_answer
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import (
    REPORT,
    TARGET,
    Exchange,
    answers,
    reply,
    run,
    streams,
    through,
)

JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    {},
    [1],
    [None],
    {"a": 1},
    [{}],
    {"text": 3},
]
ROUNDS = 100
ANSWERS = [e for e in answers(beside=False) if len(e.raw) < 5000]
STREAMS = [e for e in streams(beside=False) if len(e.raw) < 8000]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _spoiled(root: Any, dice: random.Random) -> None:
    holder, key = dice.choice(list(_places(root)))
    holder[key] = dice.choice(JUNK)


@pytest.mark.parametrize("exchange", ANSWERS, ids=str)
def test_F37_a_whole_answer_is_read_or_fails_as_the_providers(exchange: Exchange) -> None:
    dice = random.Random(exchange.name)
    for _ in range(ROUNDS):
        body = orjson.loads(exchange.raw)
        _spoiled(body, dice)
        raw = orjson.dumps(body)
        try:
            answer = read_answer(UPSTREAMS[exchange.dialect], raw, TARGET)
            if exchange.dialect == "anthropic":
                decode_answer(raw, TARGET)
        except UpstreamError:
            continue
        for client in CLIENTS.values():
            assert orjson.loads(client.encode_answer(answer.generation, reply(), REPORT))


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
def test_F33_a_stream_is_read_or_fails_as_the_providers(exchange: Exchange) -> None:
    dice = random.Random(exchange.name)
    for _ in range(ROUNDS):
        events = list(recorded.events(exchange.raw))
        _spoiled(events, dice)
        raw = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
        for client in CLIENTS:
            reader = through(exchange.dialect, client)
            run(reader, [raw])
            assert reader.clean_end == (reader.error is None)
        if exchange.dialect == "anthropic":
            run(MessagesStream(reply(), TARGET), [raw])
