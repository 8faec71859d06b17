"""The page on which a customer gives an application a key: HTML without scripts, whole in itself.

Guarantees that nothing of the request becomes markup, that no other site may frame it, and that
its form leads to us and, through us, to the callback alone.
"""

import base64
import hashlib
from collections.abc import Mapping
from html import escape

from gatewayz.accounts.grants import Asked, origin_of

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:30em;margin:3em auto;padding:0 1em;"
    "color:#1b1f24}h1{font-size:1.3em}input{font:inherit;width:100%;padding:.4em;"
    "box-sizing:border-box}label{display:block;margin:1em 0}button{font:inherit;padding:.5em 1.2em;"
    "margin:1em .5em 0 0}code{word-break:break-all}.small{color:#57606a;font-size:.9em}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def headers(asked: Asked | None) -> dict[str, str]:
    """Chrome holds redirects after a form to `form-action` too: the callback stands in it."""
    back = f" {origin_of(asked.callback)}" if asked is not None and asked.callback else ""
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'{back}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def ask_page(
    asked: Asked,
    fields: Mapping[str, str],
    *,
    account: str | None,
    csrf: str,
    sign_in_url: str,
    limit: str,
    problem: str = "",
) -> str:
    """`account`: who is signed in, None for nobody; `fields` travel on as hidden ones."""
    app = escape(asked.app)
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in {**fields, "csrf_token": csrf}.items()
    )
    where = (
        f"<p>You go back to <code>{escape(origin_of(asked.callback))}</code>.</p>"
        if asked.callback
        else "<p>You get a code to copy into the application.</p>"
    )
    if account is not None:
        who = f"<p>Signed in to the account <code>{escape(account)}</code>.</p>"
    else:
        who = (
            f'<p><a href="{escape(sign_in_url)}">Sign in</a>, then open this page again. '
            "Or show a key with the scope <code>management</code>:</p>"
            '<label>API key <input type="password" name="api_key" autocomplete="off"></label>'
        )
    alarm = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
    return _page(
        f"Give {app} a key?",
        f"{alarm}<p><strong>{app}</strong> asks for a key of its own. With it, it may send "
        "requests to models, at your expense. It sees no other key, no balance, no past request."
        "</p>"
        f'{where}<form method="post" action="/auth/grant">{hidden}{who}'
        "<label>Most that it may spend, in USD (empty: no limit of its own)"
        f'<input name="limit" inputmode="decimal" maxlength="20" value="{escape(limit)}"></label>'
        '<button name="decision" value="allow">Give it a key</button>'
        '<button name="decision" value="deny">Refuse</button></form>'
        '<p class="small">You can delete the key at any time.</p>',
    )


def code_page(code: str) -> str:
    """For applications without a page of their own."""
    return _page(
        "Copy this code",
        "<p>Give it to the application within ten minutes. It works once.</p>"
        f"<p><code>{escape(code)}</code></p>",
    )


def refused_page(problem: str = "") -> str:
    return _page("No key was given", f"<p>{escape(problem or 'You may close this page.')}</p>")


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>"
    )
