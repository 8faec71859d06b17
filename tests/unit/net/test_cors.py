"""Which pages may call, and what a browser is told."""

import pytest

from gatewayz.net.cors import Cors, is_preflight

PAGE = b"https://app.example"
FROM_PAGE = [(b"origin", PAGE)]


def told(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


def test_by_default_every_page_may_call_and_none_may_send_cookies() -> None:
    answer = told(Cors.of("*", credentials=False).answer_headers(FROM_PAGE))
    assert answer["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer
    for name in ("x-request-id", "x-generation-id", "x-provider", "retry-after"):
        assert name in answer["access-control-expose-headers"]


def test_a_named_origin_is_echoed_and_another_is_not() -> None:
    cors = Cors.of("https://app.example, https://other.example", credentials=True)
    answer = told(cors.answer_headers(FROM_PAGE))
    assert answer["access-control-allow-origin"] == PAGE.decode()
    assert answer["access-control-allow-credentials"] == "true"
    assert answer["vary"] == "origin"
    for stranger in ([], [(b"origin", b"https://app.example.evil")], [(b"origin", b"null")]):
        assert told(cors.answer_headers(stranger)) == {"vary": "origin"}
        assert told(cors.preflight(stranger, b"POST")) == {"vary": "origin"}


def test_a_wildcard_never_meets_credentials() -> None:
    for origins in ("*", "https://app.example *"):
        answer = told(Cors.of(origins, credentials=True).answer_headers(FROM_PAGE))
        assert answer["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer


def test_none_lets_no_page_call() -> None:
    assert told(Cors.of("none", credentials=False).answer_headers(FROM_PAGE)) == {"vary": "origin"}


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (
            b"authorization,content-type,x-stainless-os",
            b"authorization,content-type,x-stainless-os",
        ),
        (b"Authorization, X-Title", b"Authorization, X-Title"),
        (b"x\r\nset-cookie: a=b", b"authorization, content-type, x-api-key"),
        (b"x" * 2000, b"authorization, content-type, x-api-key"),
        (b"", b"authorization, content-type, x-api-key"),
    ],
)
def test_a_preflight_names_the_headers_that_were_asked_for(asked: bytes, allowed: bytes) -> None:
    """`*` would not do: it covers neither Authorization nor anything once credentials are on."""
    headers = [*FROM_PAGE, (b"access-control-request-headers", asked)]
    answer = Cors.of("*", credentials=False).preflight(headers, b"POST, OPTIONS")
    assert (b"access-control-allow-headers", allowed) in answer
    assert (b"access-control-allow-methods", b"POST, OPTIONS") in answer


def test_a_preflight_is_told_from_other_options_requests() -> None:
    asking = [*FROM_PAGE, (b"access-control-request-method", b"POST")]
    assert is_preflight("OPTIONS", asking)
    assert not is_preflight("OPTIONS", FROM_PAGE)
    assert not is_preflight("POST", asking)
