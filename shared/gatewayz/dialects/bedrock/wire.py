"""Words of the Converse protocol: paths, finish reasons, media formats, families of models.

Model ids name their maker, so that the family of a model that nobody declared is read off its id.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import Finish, FinishReason

NAME = "bedrock"
ID_PREFIX = "tooluse_"
MAX_ID_CHARS = 64
CLAUDE = "anthropic"  # the family of models with signed thoughts
# Also behind a region's prefix and inside the ARN of an inference profile.
_CLAUDE_ID = re.compile(r"(?:^|[./])anthropic\.")

_READ_STOP: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "model_context_window_exceeded": "context",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}

IMAGE_FORMATS: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
FILE_FORMATS: Mapping[str, str] = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "application/json": "txt",
    "text/markdown": "md",
}
VIDEO_FORMATS: Mapping[str, str] = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
AUDIO_FORMATS = frozenset({"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "webm"})


def family_of(target: Target) -> str:
    """Whose signed thoughts the model takes back."""
    if target.family:
        return target.family
    return CLAUDE if _CLAUDE_ID.search(target.native_id) else NAME


def write_path(target: Target, *, stream: bool) -> str:
    """The model stands in the path as one segment, colons and slashes of an ARN escaped."""
    method = "converse-stream" if stream else "converse"
    return f"/model/{quote(target.native_id, safe='')}/{method}"


def read_stop(reason: Any, fields: Any, *, called_tools: bool) -> Finish | None:
    """None while nothing was said. `fields`: what the model itself said beyond the protocol."""
    if type(reason) is not str or not reason:
        return None
    found = _READ_STOP.get(reason, "stop")
    if found == "stop" and called_tools:
        found = "tool_calls"
    stop = fields.get("stop_sequence") if type(fields) is dict else None
    return Finish(found, reason, stop if type(stop) is str else None)
