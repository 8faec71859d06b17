"""Settings of signing in: whose tokens are believed, how long a browser's session lasts."""

from dataclasses import dataclass

from gatewayz.core.setting import setting as _set


@dataclass(frozen=True, slots=True)
class AuthSettings:
    issuer: str = _set(
        "GATEWAYZ_AUTH_ISSUER",
        "",
        "issuer of sign-in tokens; without it the Auth of the project that SUPABASE_URL names",
    )
    audience: str = _set("GATEWAYZ_AUTH_AUDIENCE", "authenticated", "audience of those tokens")
    jwks_url: str = _set(
        "GATEWAYZ_AUTH_JWKS_URL",
        "",
        "address of the issuer's public keys; below the issuer without it",
    )
    privy_app: str = _set(
        "PRIVY_APP_ID",
        "",
        "an application at Privy whose tokens are believed too; PRIVY_APP_SECRET, with the"
        " credentials, lets us ask who a token without an address is",
    )
    privy_url: str = _set("PRIVY_API_URL", "https://auth.privy.io", "address of Privy's API")
    email_links: str = _set(
        "GATEWAYZ_EMAIL_LINKS",
        "auto",
        "sign-in links by mail: on (ours), off, or auto (the issuer's, else ours where mail is set"
        " up)",
    )
    session_days: int = _set("GATEWAYZ_SESSION_DAYS", 30, "a browser's session ends after it")
    idle_days: int = _set("GATEWAYZ_SESSION_IDLE_DAYS", 7, "… and when it was quiet for so long")
