"""One JSON line per event on stderr: at (UTC), level, event, and named fields; `request_id` is
the thread from admission through the queue to the ledger. Guarantees that no secret and no prompt
is written: fields are short, and what looks like a credential is masked (F88, F89).
"""

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

_SECRET = re.compile(
    r"(gw_(?:live|test|staging|dev)_)[0-9A-Za-z]+"
    r"|((?<![A-Za-z0-9])(?:sk|sb_secret|pk|rk|gsk|xai|whsec|AIza|AKIA|hf|tgp|fw|csk|r8|Bearer)"
    r"[-_ ]?)[A-Za-z0-9_\-.]{12,}"
    r"|((?<![A-Za-z0-9])(?:gws_|(?-i:eyJ)))[A-Za-z0-9_\-.]{12,}"
    r"|((?:key|token|secret|password|authorization)=)[^&\s\"']+"
    r"|(://[^/@\s:]+:)[^/@\s]+(?=@)",
    re.IGNORECASE,
)
MAX_FIELD_CHARS = 500
_bound: ContextVar[Mapping[str, Any]] = ContextVar("bound", default={})  # noqa: B039


def redact(text: str) -> str:
    """`text` with everything that looks like a credential replaced by its prefix and ***."""
    return _SECRET.sub(lambda m: next(g for g in m.groups() if g is not None) + "***", text)


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value[:50]]
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    return redact(str(value))[:MAX_FIELD_CHARS]


def json_line(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a line, the same in every function."""
    line: dict[str, Any] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "event": redact(record.getMessage()),
    }
    line.update(getattr(record, "fields", {}))
    if record.exc_info and record.exc_info[0] is not None:
        line["error"] = record.exc_info[0].__name__
        line["trace"] = redact("".join(traceback.format_tb(record.exc_info[2])[-8:]))
        line["detail"] = redact(str(record.exc_info[1]))[:MAX_FIELD_CHARS]
    return line


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return orjson.dumps(json_line(record), default=str).decode()


class Log:
    """`log.info("charge_sent", request_id=…)`: an event name and named fields, nothing else."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def _write(self, level: int, event: str, fields: dict[str, Any], error: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            named = {**_bound.get(), **fields}
            shown = {key: _shown(value) for key, value in named.items()}
            self._logger.log(level, event, exc_info=error, extra={"fields": shown})

    def debug(self, event: str, **fields: Any) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def evidence(self, event: str, text: str) -> None:
        """An ERROR line with `text` whole: money that only this line can prove (D7)."""
        if self._logger.isEnabledFor(logging.ERROR):
            shown = {**_bound.get(), "evidence": redact(text)}
            self._logger.error(event, extra={"fields": shown})

    def exception(self, event: str, **fields: Any) -> None:
        """An ERROR line with the current exception; its text is redacted."""
        self._write(logging.ERROR, event, fields, error=True)


def bind(**fields: Any) -> None:
    """Put these fields on every line that this task, and those it starts, will write."""
    _bound.set({**_bound.get(), **fields})


def get_log(name: str) -> Log:
    return Log(name)


_handler: logging.Handler | None = None


def use_handler(handler: logging.Handler) -> None:
    """Send lines to a platform's handler instead; it writes at least what `json_line` gives."""
    global _handler
    _handler = handler


_others: dict[str, logging.Handler] = {}


def also_handle(name: str, handler: logging.Handler | None) -> None:
    """Give lines to one more handler: one of a name, the last; None takes it away."""
    root = logging.getLogger("gatewayz")
    before = _others.pop(name, None)
    if before is not None:
        root.removeHandler(before)
    if handler is not None:
        _others[name] = handler
        root.addHandler(handler)


def configure_logging(level: str = "INFO") -> None:
    """Send our JSON lines to stderr; safe to call twice."""
    handler = _handler
    if handler is None:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonLines())
    root = logging.getLogger("gatewayz")
    root.handlers[:] = [handler, *_others.values()]
    root.setLevel(level)
    root.propagate = False
