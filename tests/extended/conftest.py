from tests.extended.callers import extended_node, extended_python
from tests.sdk.test_agent_loops import raw, tune
from tests.world import sandbox, world

__all__ = ["extended_node", "extended_python", "raw", "sandbox", "tune", "world"]
