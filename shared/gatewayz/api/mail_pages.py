"""Pages that links in mails lead to, where no web application takes them: each has a button, since
what only looks at a link, as mail scanners do, shall not use it.

Nothing is written into a page: its script reads the secret from the address and takes it out there.
"""

import hashlib
from base64 import b64encode

from fastapi import Response

_SHARED = """\
const at=id=>document.getElementById(id),out=t=>{at("out").textContent=t};
const token=new URLSearchParams(location.search).get("token")||"-";
const tell=async(path,body,more)=>{const r=await fetch(path,{method:"POST",
headers:{"content-type":"application/json",...more},body:JSON.stringify(body)});
const b=await r.json();return r.ok?b:(out(b.error.message),null);};
"""
_SIGN_IN = """\
at("go").onclick=async()=>{const b=await tell("/auth/link",{token});
history.replaceState(null,"",location.pathname);
if(b)out("Signed in as "+b.email+(b.api_key?"\\nYour key, shown this once: "+b.api_key:""));};
"""
_JOIN = """\
at("go").onclick=async()=>{const r=await fetch("/auth/session");
if(!r.ok){at("sign").hidden=false;
return out("Sign in first, then open the invitation's link again.");}
const s=await r.json();
const b=await tell("/user/invitations/accept",{token},{"x-csrf-token":s.csrf_token});
if(b)out("You are in "+b.account_name+" as "+b.role+".");};
at("ask").onclick=async()=>{const b=await tell("/auth/email",{email:at("mail").value});
if(b)out(b.message);};
"""


def _page(title: str, body: str, script: str) -> tuple[str, str]:
    """The page, and the policy that lets it run its own script and nothing else."""
    whole = _SHARED + script
    digest = b64encode(hashlib.sha256(whole.encode()).digest()).decode()
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<title>{title}</title><h1>{title}</h1>{body}"
        f'<pre id="out" role="status"></pre><script>{whole}</script></html>'
    )
    policy = (
        "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        f"script-src 'sha256-{digest}'"
    )
    return text, policy


_SIGN_IN_PAGE = _page("Sign in", '<p><button id="go">Sign in</button></p>', _SIGN_IN)
_JOIN_PAGE = _page(
    "Invitation",
    '<p><button id="go">Accept the invitation</button></p><p id="sign" hidden>'
    '<label>E-mail <input id="mail" type="email" autocomplete="email"></label>'
    '<button id="ask">Send me a sign-in link</button></p>',
    _JOIN,
)


def _answer(page: tuple[str, str]) -> Response:
    text, policy = page
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(text, media_type="text/html", headers=headers)


def sign_in_page() -> Response:
    return _answer(_SIGN_IN_PAGE)


def invitation_page() -> Response:
    return _answer(_JOIN_PAGE)
