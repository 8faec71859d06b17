"""Answers that a caller may keep: entity tags, 304, and the encoding the caller takes.

Guarantees that an answer with the caller's own tag is never rendered nor sent again.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from gatewayz.net.encoding import Encoding, choose_encoding

JSON = "application/json"
# The list may be this old in a client's own cache; shared caches know no CORS.
CACHE_CONTROL = "private, max-age=60"


async def cached_answer(
    request: Request,
    tag: str,
    render: Callable[[Encoding], Awaitable[bytes]],
    *,
    media: str = JSON,
) -> Response:
    """304 when the caller has `tag`, else what `render` gives in an encoding the caller takes.

    `tag` names the content whatever its encoding, so it is sent as a weak one.
    """
    headers = {
        "ETag": f'W/"{tag}"',
        "Cache-Control": CACHE_CONTROL,
        "Vary": "Accept-Encoding",
    }
    if has_tag(request.headers.get("if-none-match"), tag):
        return Response(None, 304, headers)
    encoding = choose_encoding(request.headers.get("accept-encoding"))
    body = await render(encoding)
    if encoding != "identity":
        headers["Content-Encoding"] = encoding
    return Response(body, 200, headers, media_type=media)


def has_tag(known: str | None, tag: str) -> bool:
    """Does If-None-Match name this tag, by the weak comparison that it asks for?"""
    if not known:
        return False
    tags = {each.strip().removeprefix("W/").strip('"') for each in known.split(",")}
    return tag in tags or known.strip() == "*"
