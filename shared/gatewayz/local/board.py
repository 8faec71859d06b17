"""Streams side by side in a terminal, as they come; plain lines where there is no terminal."""

import asyncio
import shutil
import sys
from collections.abc import Awaitable
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from gatewayz.core import clock

FRAME_S = 0.06
TEXT_LINES = 8


@dataclass(slots=True)
class Stream:
    """One request as its caller sees it."""

    model: str
    text: str = ""
    request_id: str = ""
    started_s: float = 0.0
    first_ms: int | None = None
    tokens: int = 0
    ended: str = ""
    clean: bool = False

    def take(self, event: dict[str, Any]) -> None:
        if event.get("error"):
            self.ended = str(event["error"]["code"])
        for choice in event.get("choices", ()):
            delta = choice.get("delta") or {}
            piece = delta.get("content") or delta.get("reasoning_content") or ""
            if piece and self.first_ms is None:
                self.first_ms = round((clock.monotonic_s() - self.started_s) * 1000)
            self.text += piece
            self.tokens += bool(piece)

    @property
    def line(self) -> str:
        first = "no token" if self.first_ms is None else f"first token {self.first_ms} ms"
        return f"{first}, {self.tokens} received, {self.ended or 'streaming'}"


@dataclass(slots=True)
class Board:
    """Streams side by side: redrawn in place on a terminal, one line each elsewhere."""

    streams: list[Stream]
    live: bool = field(default_factory=lambda: sys.stdout.isatty())
    _drawn: int = 0

    async def watch(self, work: Awaitable[Any]) -> None:
        """Show the streams until `work` is done."""
        task = asyncio.ensure_future(work)
        while not task.done():
            self._draw()
            await asyncio.wait({task}, timeout=FRAME_S)
        await task
        self._draw()
        if not self.live:
            for stream in self.streams:
                say(f"  {stream.model:<28} {stream.line}")
        say()

    def _draw(self) -> None:
        if not self.live:
            return
        width = shutil.get_terminal_size().columns
        back = f"\x1b[{self._drawn}F" if self._drawn else ""
        lines = board_lines(self.streams, width)
        self._drawn = len(lines)
        sys.stdout.write(back + "".join(f"\x1b[2K{line}\n" for line in lines))
        sys.stdout.flush()


def board_lines(streams: list[Stream], width: int) -> list[str]:
    """The board as lines of at most `width` characters, bold and colour aside."""
    room = max(12, (width - 2) // len(streams) - 3)
    columns = []
    for stream in streams:
        shown = "".join(c if c.isprintable() else " " for c in stream.text)
        text = wrap(shown, room)[-TEXT_LINES:]
        first = "" if stream.first_ms is None else f"first token {stream.first_ms} ms"
        state = stream.ended or f"{stream.tokens} tokens"
        columns.append([stream.model, *text, *[""] * (TEXT_LINES - len(text)), first, state])
    lines = []
    for number, row in enumerate(zip(*columns, strict=True)):
        cells = [cell[:room].ljust(room) for cell in row]
        style = "1" if number == 0 else "2" if number > TEXT_LINES else "0"
        lines.append("  " + "   ".join(f"\x1b[{style}m{cell}\x1b[0m" for cell in cells))
    return lines


def title(text: str) -> None:
    say(paint(text, "1"))


def paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if sys.stdout.isatty() else text


def say(text: str = "") -> None:
    print(text, flush=True)
