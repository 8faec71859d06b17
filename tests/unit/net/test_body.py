"""Request bodies: bounded, unambiguous, or refused with a clear 400 or 413 (F46–F52)."""

import contextlib
import gzip
import json
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest, PayloadTooLarge
from gatewayz.net import body
from gatewayz.net.body import MAX_DEPTH, parse_object, read_body


def receiver(*parts: bytes, left: bool = False) -> Any:
    """An ASGI `receive` that gives `parts`; `left`: the caller goes before the end."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": left or i < len(parts) - 1}
        for i, part in enumerate(parts)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    receive.left = messages  # type: ignore[attr-defined]
    return receive


async def read(
    *parts: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    limit: int = 1000,
    left: bool = False,
) -> bytes:
    return await read_body(receiver(*parts, left=left), headers, limit)


async def test_bodies_are_read_whole() -> None:
    assert await read(b"hello") == b"hello"
    assert await read(b"he", b"", b"llo") == b"hello"
    assert await read(b"") == b""


async def test_F46_a_declared_length_above_the_limit_is_refused_before_reading() -> None:
    receive = receiver(b"x")
    with pytest.raises(PayloadTooLarge) as caught:
        await read_body(receive, [(b"content-length", b"1001")], 1000)
    assert "1000" in caught.value.message
    assert len(receive.left) == 2  # nothing was read


async def test_F46_a_body_without_a_length_is_read_no_further_than_the_limit() -> None:
    receive = receiver(*[b"x" * 600] * 100)
    with pytest.raises(PayloadTooLarge):
        await read_body(receive, [], 1000)
    assert len(receive.left) == 99  # two parts were read
    with pytest.raises(PayloadTooLarge):
        await read(b"x" * 1001)
    assert len(await read(b"x" * 1000)) == 1000


@pytest.mark.parametrize(
    "lengths", [(b"5", b"6"), (b"-1",), (b"5x",), (b"",), (b"9" * 30,), (b"+5",)]
)
async def test_F46_a_contradictory_content_length_is_refused(lengths: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidRequest):
        await read(b"hello", headers=[(b"content-length", length) for length in lengths])


async def test_F46_a_lying_content_length_is_refused() -> None:
    for length in (b"4", b"6"):
        with pytest.raises(InvalidRequest):
            await read(b"hello", headers=[(b"content-length", length)])
    assert await read(b"hello", headers=[(b"content-length", b"5")] * 2) == b"hello"


async def test_a_caller_who_leaves_before_the_end_is_no_request() -> None:
    with pytest.raises(InvalidRequest):
        await read(b"he", left=True)
    with pytest.raises(InvalidRequest):
        await read_body(receiver(), [], 10)


async def test_gzip_bodies_are_read_within_the_limit() -> None:
    headers = [(b"content-encoding", b"gzip")]
    assert await read(gzip.compress(b"hello" * 100), headers=headers) == b"hello" * 100
    with pytest.raises(PayloadTooLarge):
        await read(gzip.compress(bytes(10_000_000)), headers=headers, limit=100_000)
    for broken in (b"hello", gzip.compress(b"hello")[:-4], gzip.compress(b"a") + b"b", b""):
        with pytest.raises(InvalidRequest):
            await read(broken, headers=headers)
    with pytest.raises(InvalidRequest):
        await read(b"x", headers=[(b"content-encoding", b"br")])
    assert await read(b"x", headers=[(b"content-encoding", b"identity")]) == b"x"


# ---------------------------------------------------------------- JSON


def refuse(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse_object(raw)
    assert caught.value.message.isprintable()
    return caught.value


@pytest.mark.parametrize("raw", [b"", b"[]", b'"x"', b"1", b"null", b"{", b"{'a':1}", b'{"a":1}}'])
def test_anything_but_an_object_is_refused(raw: bytes) -> None:
    assert refuse(raw).code == "invalid_json"


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 100_000])
def test_F47_deep_nesting_is_refused(depth: int) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b'{"a":' + opening * depth + b"1" + closing * depth + b"}"
        assert "nested" in refuse(body).message


def test_F47_what_is_accepted_can_be_written_again() -> None:
    depth = MAX_DEPTH - 1
    parsed = parse_object(b'{"a":' + b"[" * depth + b"1" + b"]" * depth + b"}")
    orjson.dumps({"more": {"levels": parsed}})


def test_F48_integers_beyond_64_bits_are_refused() -> None:
    refuse(b'{"a":' + b"9" * 5000 + b"}")
    for digits in (b"18446744073709551616", b"-9223372036854775809", b"1" + b"0" * 30):
        assert "64 bits" in refuse(b'{"a":' + digits + b"}").message
        assert "64 bits" in refuse(b'{"a":[{"b":' + digits + b"}]}").message
    assert parse_object(b'{"a":18446744073709551615}') == {"a": 2**64 - 1}
    assert parse_object(b'{"a":-9223372036854775808}') == {"a": -(2**63)}
    assert parse_object(b'{"a":1e30}') == {"a": 1e30}


@pytest.mark.parametrize("raw", [b'{"a":"\xff"}', b'{"\xed\xa0\x80":1}', b'{"a":"\xc0\xaf"}'])
def test_F48_invalid_utf8_is_refused(raw: bytes) -> None:
    assert "UTF-8" in refuse(raw).message


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"])
def test_F49_numbers_that_are_none_are_refused(number: bytes) -> None:
    refuse(b'{"a":' + number + b"}")
    refuse(b'{"a":[1,{"b":' + number + b"}]}")


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\udc00", b"\\ud800x", b"\\ud800\\ud800"])
def test_F50_lone_surrogates_are_refused(escape: bytes) -> None:
    assert "UTF-8" in refuse(b'{"a":"' + escape + b'"}').message
    assert parse_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "😀"}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"max_tokens":1,"max_tokens":999999}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[[{"b":1,"c":{},"b":2}]]}',
        b'{"a" :1,"a"\n:2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a\\\\":1,"m":1,"m":9}',
        b'{"t":"say \\":\\" twice","m":1,"m":9}',
        b'{"\\"":1,"m":1,"m":9}',
    ],
)
def test_F51_duplicate_keys_are_refused_at_every_depth(raw: bytes) -> None:
    assert refuse(raw).code == "duplicate_key"


def test_F51_text_that_looks_like_keys_is_no_duplicate() -> None:
    for text in ('"a":1,"a":2', '":":":', "\\", '\\":', '{"a" : 1, "a" : 2}'):
        body = {"a": text, "b": [text, {text: text}]}
        assert parse_object(orjson.dumps(body)) == body


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(alphabet='ab":\\ \n', max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(alphabet='ab":\\ \n', max_size=4), json_values, max_size=5))
def test_every_valid_object_is_read_as_it_is(body: dict[str, Any]) -> None:
    for raw in (orjson.dumps(body), json.dumps(body).encode(), json.dumps(body, indent=2).encode()):
        assert parse_object(raw) == json.loads(raw)


@given(json_values, json_values, st.text(alphabet='ab":\\ ', max_size=4), json_values)
def test_F51_a_key_given_twice_is_never_overlooked(
    first: Any, second: Any, key: str, other: Any
) -> None:
    name = json.dumps(key)
    pairs = [
        f"{name}:{json.dumps(first)}",
        f'"zz":{json.dumps(other)}',
        f"{name} : {json.dumps(second)}",
    ]
    raw = "{" + ",".join(pairs) + "}"
    assert refuse(raw.encode()).code == "duplicate_key"
    refuse(f'{{"x":[{raw}]}}'.encode())


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_our_errors(raw: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        parse_object(raw)


BEYOND = b'"pad":"' + b"x" * (64 * 1024) + b'"'


def test_above_64_kb_a_key_may_be_given_twice_only_below_the_top_level() -> None:
    parse_object(b'{%s,"tool":{"a":1,"a":2}}' % BEYOND)
    for twice in (b'"n":1,"n":2', b'"n":1,"n"\n:2', b'"n":{"n":1},"\\u006e":2'):
        with pytest.raises(InvalidRequest) as refused:
            parse_object(b"{%s,%s}" % (BEYOND, twice))
        assert refused.value.code == "duplicate_key"


def test_up_to_64_kb_a_key_may_be_given_twice_nowhere() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_object(b'{"text":"{\\"a\\": 1}","tool":[{"a":1,"a":2}]}')
    assert (refused.value.code, refused.value.param) == ("duplicate_key", "a")


def test_text_that_holds_json_is_not_parsed_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It blocked every other request for 45 ms a megabyte."""
    inner = json.dumps([{"key": n, "other": {"a : b": '"quoted": \\'}} for n in range(2000)])
    raw = json.dumps({"messages": [{"role": "user", "content": inner}], "n": 1}).encode()
    assert len(raw) > 64 * 1024
    monkeypatch.setattr(body.json, "loads", None)
    assert parse_object(raw)["messages"][0]["content"] == inner


@pytest.mark.parametrize(
    "number", [b"18446744073709551616", b"-9223372036854775809", b"1" * 25, b"-" + b"9" * 4000]
)
def test_integers_beyond_64_bits_are_refused_wherever_they_stand(number: bytes) -> None:
    for raw in (b'{"a":%s}', b'{"a":[1, %s]}', b'{"a":"\\"","b": %s ,"c":0}'):
        with pytest.raises(InvalidRequest):
            parse_object(raw % number)


def test_numbers_in_text_and_large_floats_are_none_of_these() -> None:
    parse_object(b'{"a":"99999999999999999999999","b":1e30,"c":18446744073709551615,"d":1.0e19}')
