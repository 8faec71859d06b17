from tests.world import sandbox, tune, world

__all__ = ["sandbox", "tune", "world"]
