"""Token counts without a tokenizer: an upper one for holds, a likely one for metering."""

IMAGE_TOKENS = 3000
FILE_BYTES_PER_TOKEN = 8
FILE_MIN_TOKENS = 1500
AUDIO_BYTES_PER_TOKEN = 160
MESSAGE_TOKENS = 8


def text_tokens(text: str) -> int:
    """At least as many tokens as the text has, nearly always."""
    return len(text.encode("utf-8", "replace")) // 2 + 1


def likely_tokens(text: str) -> int:
    """About as many tokens as the text has."""
    return -(-len(text.encode("utf-8", "replace")) // 4)
