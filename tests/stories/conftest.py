import socket

import pytest

from tests.world import sandbox, tune, world

__all__ = ["free_port", "sandbox", "tune", "world"]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
