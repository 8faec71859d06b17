"""Who is in no account here any more is nobody at our own issuer of tokens either.

Never raises: what the issuer did not delete is named in the log, and can sign in as somebody new.
"""

from collections.abc import Iterable, Mapping

from gatewayz.accounts.tokens import SUPABASE, issuers_of
from gatewayz.core.settings import Settings


async def forget_at_issuers(settings: Settings, identities: Iterable[Mapping[str, str]]) -> int:
    """`identities`: {issuer, subject} of the forgotten; how many were deleted there."""
    stores = settings.stores
    ours = {issuer.issuer for issuer in issuers_of(settings) if issuer.kind == SUPABASE}
    gone = [each["subject"] for each in identities if each["issuer"] in ours]
    if not gone or not stores.supabase_url or not stores.supabase_key:
        return 0
    from gatewayz.stores.supabase_auth import SupabaseAuth
    from gatewayz.stores.supabase_client import SupabaseClient

    auth = SupabaseAuth(SupabaseClient(stores.supabase_url, stores.supabase_key))
    try:
        return sum([await auth.delete_user(subject) for subject in gone])
    finally:
        await auth.close()
