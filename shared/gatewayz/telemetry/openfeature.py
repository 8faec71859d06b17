"""The snapshot of flags as a provider of the OpenFeature SDK; for the control plane and tools.

`use_flags` makes it the SDK's provider: whoever has the SDK asks `api.get_client()`, as anywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from gatewayz.telemetry.flags import Flags

T = TypeVar("T")


class SnapshotProvider(AbstractProvider):
    """`current` gives the snapshot of the moment."""

    def __init__(self, current: Callable[[], Flags]) -> None:
        super().__init__()
        self._current = current

    def get_metadata(self) -> Metadata:
        return Metadata(name="gatewayz")

    def _resolve(
        self, name: str, default: T, kinds: tuple[type, ...], context: EvaluationContext | None
    ) -> FlagResolutionDetails[Any]:
        flag = self._current().known.get(name)
        if flag is None:
            return FlagResolutionDetails(
                default, error_code=ErrorCode.FLAG_NOT_FOUND, reason=Reason.DEFAULT
            )
        key = context.targeting_key if context is not None else None
        value, why = flag.of(key)
        if value is False and bool not in kinds:
            # Not for whoever asks: a flag of texts or numbers has no other value then.
            return FlagResolutionDetails(default, reason=Reason.DISABLED)
        if type(value) not in kinds:
            return FlagResolutionDetails(
                default, error_code=ErrorCode.TYPE_MISMATCH, reason=Reason.ERROR
            )
        return FlagResolutionDetails(
            value, reason=Reason[why], flag_metadata={"source": flag.source}
        )

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, default_value, (bool,), evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, default_value, (str,), evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, default_value, (int,), evaluation_context)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        return self._resolve(flag_key, default_value, (float, int), evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        return self._resolve(flag_key, default_value, (dict, list), evaluation_context)


def use_flags(current: Callable[[], Flags]) -> None:
    api.set_provider(SnapshotProvider(current))
