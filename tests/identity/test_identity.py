"""Who a verified token names: the order of ways, and what is not believed of their own words."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayz.accounts.domains import is_disposable, parents
from gatewayz.accounts.identity import (
    PRIORITY,
    address,
    display_name,
    from_privy,
    from_supabase,
)

BASE = {"iss": "i", "sub": "s", "iat": 1}
LINKED: dict[str, dict[str, Any]] = {
    "email": {"type": "email", "address": "Ada@Example.org"},
    "google": {"type": "google_oauth", "email": "ada@gmail.example", "name": "Ada L"},
    "phone": {"type": "phone", "phone_number": "+4912345"},
    "github": {"type": "github_oauth", "username": "ada"},
}


@given(st.lists(st.sampled_from(sorted(LINKED)), unique=True))
def test_of_several_ways_the_first_in_the_order_counts(ways: list[str]) -> None:
    identity = from_privy(BASE | {"linked_accounts": [LINKED[way] for way in ways]})
    expected = next((way for way in PRIORITY if way in ways), "privy")
    assert identity.method == expected
    wanted = {"email": "ada@example.org", "google": "ada@gmail.example"}
    assert identity.email == next((wanted[w] for w in ("email", "google") if w in ways), None)


def test_linked_accounts_may_be_text_and_nonsense_is_nothing() -> None:
    text = '[{"type": "email", "address": "ada@example.org"}]'
    assert from_privy(BASE | {"linked_accounts": text}).email == "ada@example.org"
    for nonsense in ("[", "5", 5, [5], [{"type": "email", "address": 5}], [{"type": ["email"]}]):
        identity = from_privy(BASE | {"linked_accounts": nonsense})
        assert (identity.method, identity.email) == ("privy", None)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.sampled_from(["email", "phone", "app_metadata", "user_metadata", "amr", "extra"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ),
    )
)
def test_whatever_claims_hold_an_identity_comes_of_them(claims: dict[str, Any]) -> None:
    identity = from_supabase(claims | BASE)
    assert (identity.issuer, identity.subject) == ("i", "s")
    assert identity.method.isalpha()
    assert display_name(identity)
    assert identity.email is None or address(identity.email) == identity.email


def test_what_a_person_writes_of_themselves_is_a_name_at_most() -> None:
    claims = BASE | {
        "email": "", "app_metadata": {"provider": "github", "providers": ["github"]},
        "user_metadata": {"email": "victim@example.org", "email_verified": True, "role": "owner",
                          "provider": "email", "user_name": "ada", "full_name": "Ada\x00 L"},
    }  # fmt: skip
    identity = from_supabase(claims)
    assert (identity.method, identity.email, identity.handle) == ("github", None, "ada")
    assert identity.name == "Ada L"


def test_an_address_is_proved_by_reading_mail_there_not_by_a_password() -> None:
    mail = {"email": "ada@example.org", "app_metadata": {"providers": ["email"]}}
    assert from_supabase(BASE | mail | {"amr": [{"method": "otp"}]}).email_proved
    assert not from_supabase(BASE | mail | {"amr": [{"method": "password"}]}).email_proved
    assert not from_supabase(BASE | mail).email_proved


@pytest.mark.parametrize(
    "text",
    ["", "ada", "@example.org", "ada@", "ada@localhost", "a b@example.org", "a@b@c,org",
     "<ada@example.org>", "ada@ex..org", "ada@exa_mple.org", "ada@" + "x" * 300 + ".org", 5, None],
)  # fmt: skip
def test_what_is_no_address_is_none(text: Any) -> None:
    assert address(text) is None


@pytest.mark.parametrize("domain", ["mailinator.com", "MAILINATOR.com", "a.b.mailinator.com"])
def test_a_throw_away_domain_and_what_is_below_it_is_known(domain: str) -> None:
    assert is_disposable(f"x@{domain}")
    assert not is_disposable("x@people.example")
    assert not is_disposable("x@notmailinator.com.people.example")
    assert parents("a.b.example") == ["a.b.example", "b.example"]
