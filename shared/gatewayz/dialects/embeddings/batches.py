"""More inputs than a provider takes at once: several calls, one list of vectors, one sum."""

from collections.abc import Callable, Sequence

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.embeddings.form import Vectors
from gatewayz.dialects.exchange import Stream
from gatewayz.dialects.fan_out import Several
from gatewayz.dialects.form import Target, UsageReport
from gatewayz.dialects.one_shot import OneShotExchange, broken, stated
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.protocol import Headers, HttpRequest
from gatewayz.pricing.usage import Usage


class Batches(Several):
    """The calls of one request, in the order of its inputs. Implements Exchange."""

    __slots__ = ("_calls", "_write", "request", "target")

    def __init__(
        self,
        calls: tuple[OneShotExchange[Vectors], ...],
        write: Callable[[Vectors, UsageReport], bytes],
    ) -> None:
        self._calls = calls
        self._write = write
        self.request: HttpRequest = calls[0].request
        self.target: Target = calls[0].target

    @property
    def branches(self) -> Sequence[OneShotExchange[Vectors]]:
        return self._calls

    def join(self, answers: Sequence[Vectors]) -> Vectors:
        """UpstreamBroken when they are of different lengths."""
        kinds = answers[0].by_kind
        by_kind = {
            kind: [vector for answer in answers for vector in answer.by_kind[kind]]
            for kind in kinds
        }
        if any(len({len(vector) for vector in vectors}) != 1 for vectors in by_kind.values()):
            raise broken(self.target)
        counted: list[Usage] = []
        for answer in answers:
            usage = stated(answer.counted)
            if isinstance(usage, InvalidUsage):
                return Vectors(by_kind, usage)
            if usage is not None:
                counted.append(usage)
        costs = [answer.stated_cost for answer in answers]
        return Vectors(
            by_kind,
            Usage.of_calls(counted) if len(counted) == len(answers) else None,
            sum(costs) if None not in costs else None,
        )

    def read_answer(self, raw: bytes) -> Vectors:
        raise AssertionError("each call reads its own")

    def render_answer(self, answer: Vectors, report: UsageReport) -> bytes:
        return self._write(answer, report)

    def open_stream(self) -> Stream:
        raise AssertionError("answered whole, never as a stream")

    def decode_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return self._calls[0].decode_error(status, headers, body)
