"""Supabase Auth through its genuine client: links by mail, and the end of an identity."""

import importlib
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from gatewayz.accounts.forgetting import forget_at_issuers
from gatewayz.core.errors import DependencyError, InvalidRequest, RateLimited, StoreUnavailable
from gatewayz.core.settings import load_settings
from gatewayz.stores.supabase_auth import SupabaseAuth
from gatewayz.stores.supabase_client import SupabaseClient
from tests.fakes.identity import FakeIdentity
from tests.world import vouching

SECRET = "sb_secret_test"


@pytest.fixture
def identity() -> FakeIdentity:
    return vouching()


async def test_a_link_is_asked_of_the_project_and_leads_back(identity: FakeIdentity) -> None:
    auth = SupabaseAuth(SupabaseClient(identity.url, SECRET))
    await auth.send_link("ada@people.example", back_to="https://app.example")
    sent = identity.calls[-1]
    assert (sent["path"], sent["body"]["email"]) == ("/auth/v1/otp", "ada@people.example")
    assert "redirect_to=https" in sent["query"]
    for email, error in (
        ("often@people.example", RateLimited), ("bad@people.example", InvalidRequest),
        ("broken@people.example", StoreUnavailable),
    ):  # fmt: skip
        with pytest.raises(error) as raised:
            await auth.send_link(email, back_to="https://app.example")
        # What the project says repeats the address; what we say does not.
        assert "people.example" not in str(raised.value)
    await auth.close()


async def test_an_identity_is_deleted_there_and_a_failure_is_no_error_here(
    identity: FakeIdentity,
) -> None:
    auth = SupabaseAuth(SupabaseClient(identity.url, SECRET))
    known = str(uuid4())
    assert await auth.delete_user(known) is True
    assert identity.calls[-1]["path"] == f"/auth/v1/admin/users/{known}"
    assert await auth.delete_user("not-a-uuid") is False
    await auth.close()
    away = SupabaseAuth(SupabaseClient("http://127.0.0.1:1", SECRET))
    assert await away.delete_user(known) is False
    with pytest.raises(DependencyError):
        await away.send_link("ada@people.example", back_to="https://app.example")
    await away.close()


async def test_who_is_forgotten_here_is_forgotten_at_our_issuer_and_at_no_other(
    identity: FakeIdentity,
) -> None:
    known = {"SUPABASE_URL": identity.url, "SUPABASE_SECRET_KEY": SECRET, "PRIVY_APP_ID": "app"}
    subject, before = str(uuid4()), len(identity.calls)
    gone = [
        {"issuer": identity.issuer, "subject": subject},
        {"issuer": "privy.io", "subject": "did:privy:ada"},
        {"issuer": "email", "subject": "ada@people.example"},
    ]
    assert await forget_at_issuers(load_settings(known), gone) == 1
    assert [call["path"] for call in identity.calls[before:]] == [f"/auth/v1/admin/users/{subject}"]
    assert await forget_at_issuers(load_settings({}), gone) == 0


@pytest.mark.parametrize(
    ("environment", "who"),
    [
        ({}, "nobody"),
        ({"GATEWAYZ_STAGE": "local"}, "we"),
        ({"GATEWAYZ_MAIL_FROM": "Acme <a@acme.example>"}, "we"),
        ({"GATEWAYZ_EMAIL_LINKS": "on"}, "we"),
        ({"GATEWAYZ_EMAIL_LINKS": "off", "GATEWAYZ_STAGE": "local"}, "nobody"),
        ({"SUPABASE_URL": "https://p.supabase.co", "GATEWAYZ_STAGE": "local"}, "issuer"),
        ({"GATEWAYZ_AUTH_ISSUER": "https://id.example", "GATEWAYZ_STAGE": "local"}, "nobody"),
    ],
)
def test_who_sends_links_follows_from_the_settings(environment: dict[str, str], who: str) -> None:
    module, plane = plane_of(environment)
    assert module._who_sends_links(plane) == who


async def test_where_the_issuer_mails_links_it_is_asked_to(identity: FakeIdentity) -> None:
    known = {"SUPABASE_URL": identity.url, "SUPABASE_SECRET_KEY": SECRET}
    module, plane = plane_of(known)
    await module._ask_issuer(plane, "ada@people.example")
    assert identity.calls[-1]["path"] == "/auth/v1/otp"
    with pytest.raises(InvalidRequest):
        await module._ask_issuer(plane, "ada@mailinator.com")
    assert identity.calls[-1]["body"]["email"] == "ada@people.example"


class _NoBlocks:
    """Postgres of a house that blocks no domain."""

    async def rpc(self, name: str, params: object) -> bool:
        assert name == "domain_is_blocked"
        return False


def plane_of(environment: dict[str, str]) -> tuple[Any, Any]:
    """The module of the function, and as much of a plane as its links need."""
    module = importlib.import_module("functions.account.app")
    stores = SimpleNamespace(postgres=_NoBlocks())
    return module, SimpleNamespace(settings=load_settings(environment), stores=stores)
