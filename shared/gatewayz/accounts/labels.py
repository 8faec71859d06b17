"""A caller's own labels: of people and sessions only keyed hashes are kept (D8), tags whole."""

import hashlib
import re

MAX_TAGS = 8
# As the header's other labels: visible ASCII; a comma parts them.
_TAG = re.compile(r"[!-+\--~][ -+\--~]{0,62}[!-+\--~]|[!-+\--~]")


def hashed_label(account: str, label: str) -> str:
    """24 hexadecimal digits, others in every account."""
    return hashlib.blake2s(label.encode(), key=account.encode()[:32], digest_size=12).hexdigest()


def tags_in(header: bytes) -> list[str]:
    """The tags of `a, b`, sorted, each once; without what is none and those beyond eight."""
    parts = (part.strip() for part in header.decode("latin-1").split(","))
    return sorted({part for part in parts if _TAG.fullmatch(part)})[:MAX_TAGS]
