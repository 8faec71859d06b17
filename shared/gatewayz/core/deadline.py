"""An absolute point on the monotonic clock from which every wait of a request derives."""

from dataclasses import dataclass

from gatewayz.core import clock


@dataclass(frozen=True, slots=True)
class Deadline:
    at_s: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(clock.monotonic_s() + seconds)

    def left_s(self) -> float:
        return self.at_s - clock.monotonic_s()

    @property
    def passed(self) -> bool:
        return self.left_s() <= 0
