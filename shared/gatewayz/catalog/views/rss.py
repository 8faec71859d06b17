"""A list of models as an RSS feed, the newest first."""

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from xml.sax.saxutils import escape

from gatewayz.catalog.views.rows import Row

MEDIA = "application/rss+xml"
TITLE = "Models"


def render_feed(rows: Iterable[Row], base_url: str, built_at_ms: int, *, chat_links: bool) -> bytes:
    """RSS 2.0. `chat_links`: an item leads to a chat with the model, not to its description."""
    items = "".join(_item(row, base_url, chat_links) for row in rows)
    feed = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<rss version="2.0"><channel>'
        f"<title>{TITLE}</title><link>{escape(base_url)}</link>"
        f"<description>{TITLE}</description><lastBuildDate>{_date(built_at_ms // 1000)}"
        f"</lastBuildDate>{items}</channel></rss>"
    )
    return feed.encode("utf-8", "xmlcharrefreplace")


def _item(row: Row, base_url: str, chat_links: bool) -> str:
    model = row.model
    path = f"/chat?models={model.id}" if chat_links else f"/v1/models/{model.id}"
    dated = f"<pubDate>{_date(model.created_s)}</pubDate>" if model.created_s else ""
    return (
        f"<item><title>{_text(model.name)}</title><link>{_text(base_url + path)}</link>"
        f'<guid isPermaLink="false">{_text(model.id)}</guid>'
        f"<description>{_text(model.description)}</description>{dated}</item>"
    )


def _text(value: str) -> str:
    """Escaped, and without the characters that XML cannot hold at all."""
    return escape("".join(c for c in value if c >= " " or c in "\t\n\r"))


def _date(at_s: int) -> str:
    return format_datetime(datetime.fromtimestamp(at_s, tz=UTC), usegmt=True)
