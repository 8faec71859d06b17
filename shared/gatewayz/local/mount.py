"""All functions under one port: reads each function's own routes and calls its app.

Guarantees that no two functions claim one path. A function is used exactly as its platform
uses it: imported by its module name, called as ASGI.
"""

import asyncio
import importlib
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from gatewayz.core.log import get_log
from gatewayz.local.errors import LocalError

log = get_log(__name__)

FUNCTIONS = Path(__file__).resolve().parents[3] / "functions"
# Takes what no route takes: its 404 has the shape that SDKs know.
FALLBACK = "chat"
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]
Face = TypeVar("Face")


def load_modules(kind: str, *, only: str = "*") -> Iterator[tuple[str, ModuleType]]:
    """(name, module) of every functions/*/<kind>.py, or of one function's."""
    for file in sorted(FUNCTIONS.glob(f"{only}/{kind}.py")):
        name = file.parent.name
        yield name, importlib.import_module(f"functions.{name}.{kind}")


def load_faces(kind: str, face: type[Face]) -> list[Face]:
    """The one object of type `face` in every functions/*/<kind>.py."""
    found = []
    for name, module in load_modules(kind):
        faces = [value for value in vars(module).values() if isinstance(value, face)]
        if len(faces) != 1:
            raise LocalError(f"functions/{name}/{kind}.py must hold one {face.__name__}")
        found.append(faces[0])
    return found


class Mount:
    """One ASGI application over many: exact paths first, then the patterns that say the most."""

    def __init__(self) -> None:
        self._apps: dict[str, Asgi] = {}
        self._owners: dict[str, str] = {}
        self._patterns: list[tuple[re.Pattern[str], Asgi]] = []
        self.failure: str | None = None

    def add(self, name: str, app: Asgi, paths: Collection[str]) -> None:
        """Have `app` answer these paths; LocalError when another has one of them."""
        self._apps[name] = app
        for path in paths:
            owner = self._owners.setdefault(path, name)
            if owner != name:
                raise LocalError(f"{path} is served by {owner} and by {name}")
            if "{" in path:
                self._patterns.append((_pattern(path), app))
        self._patterns.sort(key=lambda known: len(known[0].pattern), reverse=True)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        await self._find(scope["path"])(scope, receive, send)

    def _find(self, path: str) -> Asgi:
        owner = self._owners.get(path)
        if owner is not None:
            return self._apps[owner]
        for pattern, app in self._patterns:
            if pattern.fullmatch(path):
                return app
        return self._apps[FALLBACK]

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Start all, or none; stop all, whatever one of them says."""
        await receive()
        lives = {name: _Life(app) for name, app in self._apps.items()}
        for name, life in lives.items():
            failure = await life.say("startup")
            if failure is not None:
                self.failure = f"{name}: {failure}"
                await send({"type": "lifespan.startup.failed", "message": self.failure})
                return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for name, life in lives.items():
            failure = await life.say("shutdown")
            if failure is not None:
                log.warning("shutdown_failed", function=name, detail=failure)
        await send({"type": "lifespan.shutdown.complete"})


class _Life:
    """The lifespan of one application inside the mount's own."""

    def __init__(self, app: Asgi) -> None:
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.create_task(self._live(app))

    async def _live(self, app: Asgi) -> None:
        scope: Message = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        # An application may know no lifespan: returning or raising is then its answer.
        with suppress(Exception):
            await app(scope, self._events.get, self._answers.put)

    async def say(self, moment: str) -> str | None:
        """Send an event; the failure that the application reports, if it does."""
        await self._events.put({"type": f"lifespan.{moment}"})
        answer = asyncio.create_task(self._answers.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            return None
        said = answer.result()
        return str(said.get("message", "")) if said["type"].endswith(".failed") else None


def _pattern(path: str) -> re.Pattern[str]:
    """`/v1/generation/{id}/explain` as a pattern; `{name:path}` takes slashes too."""
    parts = re.split(r"(\{[^}]+\})", path)
    return re.compile(
        "".join(
            (".*" if part.endswith(":path}") else "[^/]+") if part[:1] == "{" else re.escape(part)
            for part in parts
        ),
        re.DOTALL,
    )


def routes_of(name: str, module: ModuleType) -> list[str]:
    """A framework's application knows its routes; a raw one states them in ROUTES."""
    known = getattr(module.app, "routes", None)
    paths = [route.path for route in known] if known is not None else list(module.ROUTES)
    if not paths:
        raise LocalError(f"functions/{name}/app.py has no routes")
    return paths


def mount_functions() -> Mount:
    """Every functions/*/app.py of this repository as one application."""
    mount = Mount()
    modules = dict(load_modules("app"))
    if FALLBACK not in modules:
        raise LocalError(f"No functions in {FUNCTIONS}")
    for name, module in modules.items():
        mount.add(name, module.app, routes_of(name, module))
    return mount
