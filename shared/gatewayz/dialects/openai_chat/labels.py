"""Our id, model and provider over the upstream's in every chunk, as cheaply as can be (D28).

The first chunk shows how this upstream writes its id and model; from then on two byte patterns are
replaced and nothing else is touched. A chunk in which they do not stand exactly once is encoded
anew. Guarantees one id, model, object and creation time in all chunks of a stream.
"""

from typing import Any

import orjson

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.frames import frame

LABELS = ("id", "object", "created", "model", "provider")
_NULL_USAGE = b',"usage":null'


class Labels:
    """`ours` are the labels to write; its creation time becomes the upstream's when it has one."""

    __slots__ = (
        "_id_bytes",
        "_keep_null_usage",
        "_model_bytes",
        "_native_model",
        "_new_id",
        "_new_model",
        "_noted",
        "_ours",
        "native_id",
    )

    def __init__(self, ours: JsonObject, *, keep_null_usage: bool) -> None:
        self._ours = ours
        self._keep_null_usage = keep_null_usage
        self.native_id: str | None = None
        self._native_model: Any = None
        self._noted = False
        self._id_bytes = self._model_bytes = b""
        self._new_id = self._new_model = b""

    def note(self, chunk: JsonObject) -> None:
        """Learn the upstream's labels from its first chunk that has an id."""
        if self._noted:
            return
        native = chunk.get("id")
        if type(native) is str and native:
            self.native_id, self._native_model = native, chunk.get("model")
            self._noted = True
        created = chunk.get("created")
        if type(created) is int and created > 0:
            self._ours["created"] = created

    def rewrite(self, chunk: JsonObject, data: bytes, *, changed: bool) -> bytes:
        """The frame for a chunk that came as `data`; `changed`: the chunk no longer is the data."""
        if not self._id_bytes:
            self._learn(chunk, data)
        if changed or not self._is_regular(chunk, data):
            if not self._keep_null_usage:
                chunk.pop("usage", None)
            return self.encode(chunk)
        if "usage" in chunk and not self._keep_null_usage:
            if data.count(_NULL_USAGE) != 1:
                del chunk["usage"]
                return self.encode(chunk)
            data = data.replace(_NULL_USAGE, b"")
        data = data.replace(self._id_bytes, self._new_id)
        return b"data: " + data.replace(self._model_bytes, self._new_model) + b"\n\n"

    def encode(self, chunk: JsonObject) -> bytes:
        return frame({**self._ours, **{k: v for k, v in chunk.items() if k not in LABELS}})

    def _is_regular(self, chunk: JsonObject, data: bytes) -> bool:
        """Whether replacing the two patterns gives exactly what encoding anew would."""
        return (
            self._id_bytes != b""
            and data.count(self._id_bytes) == 1
            and data.count(self._model_bytes) == 1
            and chunk.get("id") == self.native_id
            and chunk.get("model") == self._native_model
            and chunk.get("created") == self._ours["created"]
            and chunk.get("object") == "chat.completion.chunk"
            and b"\n" not in data
            and not ("provider" in self._ours and "provider" in chunk)
        )

    def _learn(self, chunk: JsonObject, data: bytes) -> None:
        """Id and model as this upstream writes them, with or without a space after the colon."""
        self.note(chunk)
        if self.native_id is None or type(self._native_model) is not str:
            return
        for colon in (b":", b": "):
            id_bytes = b'"id"' + colon + orjson.dumps(self.native_id)
            model_bytes = b'"model"' + colon + orjson.dumps(self._native_model)
            if data.count(id_bytes) != 1 or data.count(model_bytes) != 1:
                continue
            self._id_bytes, self._model_bytes = id_bytes, model_bytes
            self._new_id = b'"id":' + orjson.dumps(self._ours["id"])
            self._new_model = b'"model":' + orjson.dumps(self._ours["model"])
            if "provider" in self._ours:
                self._new_model += b',"provider":' + orjson.dumps(self._ours["provider"])
            return
