"""What a key may be used for, decided without a store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.accounts.origin import origin_of
from gatewayz.accounts.rules import (
    FREE,
    SCOPES,
    Origin,
    Rules,
    checked_domains,
    checked_ips,
    checked_scopes,
    ip_in,
    permit,
    referrer_in,
)
from gatewayz.core.errors import Forbidden, InvalidRequest
from gatewayz.core.settings import SettingsError, load_settings
from gatewayz.net.origin import client_ip

NOWHERE = Origin(None, None)


@pytest.mark.parametrize(
    ("ip", "allowed", "inside"),
    [
        ("192.0.2.7", ["192.0.2.0/24"], True),
        ("192.0.3.7", ["192.0.2.0/24"], False),
        ("192.0.2.7", ["198.51.100.1", "192.0.2.7"], True),
        ("::ffff:192.0.2.7", ["192.0.2.0/24"], True),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("2001:db9::1", ["2001:db8::/32"], False),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("192.0.2.7", ["::/0"], False),
        ("not an address", ["0.0.0.0/0"], False),
        (None, ["0.0.0.0/0"], False),
    ],
)
def test_an_address_is_in_a_network_of_its_own_kind(
    ip: str | None, allowed: list[str], inside: bool
) -> None:
    assert ip_in(ip, checked_ips(allowed)) is inside


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_every_address_is_in_each_network_around_it(ip: object, bits: int) -> None:
    assert ip_in(str(ip), checked_ips([f"{ip}/{bits}"]))


@pytest.mark.parametrize(
    ("page", "inside"),
    [
        ("https://example.com/chat", True),
        ("https://app.Example.COM:8443/", True),
        ("https://example.com.evil.org/", False),
        ("https://badexample.com/", False),
        ("https://evil.org/?example.com", False),
        ("https://example.com@evil.org/", False),
        ("https://[broken", False),
        ("", False),
        (None, False),
    ],
)
def test_a_page_is_at_a_site_or_below_it(page: str | None, inside: bool) -> None:
    assert referrer_in(page, checked_domains(["https://Example.com/x"])) is inside


def test_empty_entries_restrict_nothing_and_wrong_ones_are_refused() -> None:
    assert checked_ips(["", " "]) == checked_domains([""]) == []
    for wrong in ("example.com", "192.0.2.0/33", "1.2.3"):
        with pytest.raises(InvalidRequest):
            checked_ips([wrong])
    for wrong in ("a b", "exa_mple!.com", "[::"):
        with pytest.raises(InvalidRequest):
            checked_domains([wrong])


def test_a_key_without_rules_may_everything() -> None:
    assert Rules.of({}) is FREE
    for scope in SCOPES:
        permit(FREE, scope, NOWHERE)


@pytest.mark.parametrize("held", SCOPES)
@pytest.mark.parametrize("asked", [*SCOPES, "undeclared"])
def test_F92_a_scope_opens_what_it_names_and_what_it_implies(held: str, asked: str) -> None:
    opens = {held} | ({"keys:read", "keys:write"} if held == "management" else set())
    rules = Rules.of({"scopes": [held]})
    if asked in opens:
        return permit(rules, asked, NOWHERE)
    with pytest.raises(Forbidden) as refused:
        permit(rules, asked, NOWHERE)
    assert refused.value.code == "insufficient_scope"


def test_a_rule_that_cannot_be_judged_refuses() -> None:
    for stored, code in (
        ({"ips": ["192.0.2.0/24"]}, "ip_not_allowed"),
        ({"referrers": ["example.com"]}, "referrer_not_allowed"),
    ):
        with pytest.raises(Forbidden) as refused:
            permit(Rules.of(stored), "inference", NOWHERE)
        assert refused.value.code == code


def test_models_and_providers_go_by_patterns_and_a_block_wins() -> None:
    rules = Rules.of(
        {"models": ["openai/*", "*/echo"], "blocked_models": ["openai/gpt-5*"],
         "blocked_providers": ["*-preview"]}
    )  # fmt: skip
    assert rules.allows_model("openai/gpt-4o")
    assert rules.allows_model("sandbox/echo")
    assert not rules.allows_model("openai/gpt-5.4")
    assert not rules.allows_model("anthropic/claude")
    assert rules.allows_provider("openai")
    assert not rules.allows_provider("openai-preview")


def test_a_key_gives_no_scope_that_it_lacks() -> None:
    holder = Rules.of({"scopes": ["keys:write", "inference"]})
    assert checked_scopes(["inference", "inference"], holder) == ["inference"]
    for scope in ("billing", "management", "usage:read"):
        with pytest.raises(Forbidden):
            checked_scopes([scope], holder)
    assert checked_scopes(["inference"], Rules.of({"scopes": ["management"]})) == ["inference"]
    with pytest.raises(InvalidRequest):
        checked_scopes(["everything"], FREE)


@pytest.mark.parametrize(
    ("source", "forwarded", "found"),
    [
        ("peer", "203.0.113.9", "192.0.2.1"),
        ("hop:1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("hop:2", "1.1.1.1, 203.0.113.9", "1.1.1.1"),
        ("hop:3", "1.1.1.1, 203.0.113.9", None),
        ("hop:1", "203.0.113.9:4711", "203.0.113.9"),
        ("hop:1", "[2001:db8::1]:443", "2001:db8::1"),
        ("hop:1", "2001:db8::1", "2001:db8::1"),
        ("header:X-Real-IP", "1.1.1.1", "198.51.100.4"),
        ("header:CF-Connecting-IP", "1.1.1.1", None),
    ],
)
def test_F57_a_clients_address_is_where_the_operator_said(
    source: str, forwarded: str, found: str | None
) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode()), (b"x-real-ip", b"198.51.100.4")]
    assert client_ip(source, "192.0.2.1", headers) == found


def test_several_forwarded_headers_count_as_one_list() -> None:
    headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"203.0.113.9")]
    assert client_ip("hop:1", None, headers) == "203.0.113.9"
    assert client_ip("hop:2", None, headers) == "6.6.6.6"


def test_the_page_is_the_referer_or_else_the_origin() -> None:
    both = [(b"origin", b"https://a.org"), (b"referer", b"https://b.org/x")]
    assert origin_of("peer", ("192.0.2.1", 1), both) == Origin("192.0.2.1", "https://b.org/x")
    assert origin_of("peer", None, both[:1]) == Origin(None, "https://a.org")


@pytest.mark.parametrize("wrong", ["hop:0", "hop:10", "header:", "header:a b", "proxy"])
def test_a_setting_that_names_no_place_stops_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAYZ_CLIENT_IP"):
        load_settings({"GATEWAYZ_CLIENT_IP": wrong})
