"""One answer as it is sent, kept for twins of its request: byte for byte, from the first on."""

import asyncio

import orjson

from gatewayz.net.asgi import Call, Message, RawHeaders


class Recording:
    """Frames in order; the first is the head as JSON. `alone`: no other process can follow."""

    def __init__(self, digest: str, owner: str) -> None:
        self.digest = digest
        self.owner = owner
        self.alone = False
        self.status = 0
        self.complete = False
        self._frames: list[bytes] = []
        self._taken = 0  # frames that are in Redis
        self._listed_bytes = 0
        self._waiting_bytes = 0
        self._over = False
        self._dropped = False
        self._moved = asyncio.Event()

    # ------------------------------------------------------------ the caller who came first

    def attach(self, call: Call) -> None:
        """Everything `call` sends is kept; its caller may leave without ending anything."""
        send, here = call._send, True

        async def kept(message: Message) -> None:
            nonlocal here
            self._add(message)
            if here:
                try:
                    await send(message)
                except OSError:
                    here = False

        async def never() -> Message:
            await asyncio.Event().wait()
            raise AssertionError("nobody says that the caller left")

        call._send, call.receive = kept, never

    def _add(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in message["headers"]]
            self._put(orjson.dumps([self.status, headers]))
            return
        if message["body"]:
            self._put(bytes(message["body"]))
        if not message.get("more_body"):
            self.complete = True
            self._wake()

    def _put(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._waiting_bytes += len(frame)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def finish(self) -> None:
        self._over = True
        self._wake()

    def drop(self) -> None:
        """It failed, or is nobody's: who follows has to ask again."""
        self._dropped = self._over = True
        self._wake()

    # ------------------------------------------------------------ twins in this process

    async def follow(self, call: Call, note: tuple[bytes, bytes]) -> bool:
        """Give another caller the same; False when there is nothing to give."""
        place = 0
        while True:
            moved = self._moved
            if self._dropped and place == 0:
                return False
            # A failure is nobody's answer but its own caller's.
            while self.status < 400 and place < len(self._frames):
                frame = self._frames[place]
                if place == 0:
                    await call.start(self.status, [*read_head(frame)[1], note])
                else:
                    await call.write(frame)
                place += 1
            if self.complete and place and self.status < 400:
                await call.end()
                return True
            if self._over:
                return place > 0
            await moved.wait()

    # ------------------------------------------------------------ on its way to Redis

    async def wait(self, enough_bytes: int, seconds: float) -> None:
        """Until `enough_bytes` wait, at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self._waiting_bytes < enough_bytes:
                    await self._moved.wait()
        except TimeoutError:
            pass

    def take(self, most_bytes: int) -> list[bytes]:
        """Frames that are not in Redis yet, as far as there is room for them."""
        frames: list[bytes] = []
        if self.status >= 400:
            return frames
        for frame in self._frames[self._taken :]:
            if self._listed_bytes + len(frame) > most_bytes:
                break
            self._listed_bytes += len(frame)
            frames.append(frame)
        self._taken += len(frames)
        self._waiting_bytes = 0
        return frames

    def give_back(self, frames: list[bytes]) -> None:
        """They did not arrive."""
        self._taken -= len(frames)
        self._listed_bytes -= sum(map(len, frames))

    def rest(self) -> bytes:
        """What there was no room for."""
        return b"".join(self._frames[self._taken :])

    def whole(self) -> bytes:
        """All of it: the head on a line of its own, then the body."""
        head, *body = self._frames
        return b"".join([head, b"\n", *body])


def read_head(frame: bytes) -> tuple[int, RawHeaders]:
    """Status and headers of an answer's first frame."""
    status, headers = orjson.loads(frame)
    return status, [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers]
