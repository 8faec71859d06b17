"""The sixteen cases of the public failoverbench (catalogue v0.1), written anew from its published
description: a provider that misbehaves by the name of the model, and the verdicts on a gateway.

    python -m tests.routing.failoverbench --url http://127.0.0.1:4000/v1 --key K    any gateway
    python -m tests.routing.failoverbench --litellm ~/.cache/gwbench/venv-litellm   started here

A gateway under test sends model `fb-sNN` to the wall and takes `fb-ok` as its fallback.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.fakes.upstream import Act, RawRequest, RawUpstream, Step, event_stream
from tests.routing.fleet import DONE, ROLE, STOP, chunk, refusal

WORDS = [f"word{number}" for number in range(1, 61)]
ANSWER = " ".join(WORDS)
OK = "fb-ok"
USAGE = {"prompt_tokens": 21, "completion_tokens": 60, "total_tokens": 81}
HEAD = event_stream()
GO_ON = "cut off"  # what a request to go on says, and a whole new one does not


@dataclass
class Profile:
    """How long the wall waits; `fast` for tests, `full` as the public scorecard."""

    retry_after_s: int = 1
    slow_s: float = 0.8
    stall_s: float = 1.2
    down: bool = True  # S15: moved by hand, or by the clock


def words(first: int, last: int) -> list[bytes]:
    return [chunk({"content": w if n == 0 else f" {w}"})
            for n, w in list(enumerate(WORDS))[first:last]]  # fmt: skip


def whole(first: int = 0) -> list[Step]:
    return [HEAD, ROLE, *words(first, 60), STOP, chunk(usage=USAGE), DONE]


@dataclass
class Wall:
    """The provider. `log`: (seconds, model, what it did) of every attempt it saw."""

    profile: Profile = field(default_factory=Profile)
    log: list[tuple[float, str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.upstream = RawUpstream()
        self.upstream.play = self._play

    def stop(self) -> None:
        self.upstream.stop()

    def reset(self) -> None:
        self.log.clear()
        self.counts.clear()

    def seen(self, model: str) -> list[float]:
        return [at_s for at_s, name, _ in self.log if name == model]

    def _play(self, request: RawRequest) -> Sequence[Step]:
        body = request.json
        model = body["model"].rsplit("/", 1)[-1]
        self.counts[model] = number = self.counts.get(model, 0) + 1
        what, steps = self._steps(model, number, body)
        self.log.append((time.monotonic(), model, what))
        return steps

    def _steps(self, model: str, number: int, body: Any) -> tuple[str, Sequence[Step]]:
        last = body["messages"][-1]
        if model == OK or model == "fb-ok-noprefill":
            if model != OK and last["role"] == "assistant":
                wrong = {"error": {"message": "no prefill", "type": "invalid_request_error"}}
                return "prefill refused", [refusal(400, wrong)]
            goes_on = GO_ON in json.dumps(last.get("content"))
            return "200", whole(40 if goes_on else 0)
        once, profile = number == 1, self.profile
        code, filtered = "context_length_exceeded", "content_policy_violation"
        faults: dict[str, tuple[bool, list[Step]]] = {
            "fb-s01": (once, [refusal(429, None, f"retry-after: {profile.retry_after_s}")]),
            "fb-s02": (True, [refusal(429)]),
            "fb-s03": (once, [refusal(500)]),
            "fb-s04": (True, [refusal(503)]),
            "fb-s05": (once, [Act.CUT]),
            "fb-s06": (True, [Act.HANG]),
            "fb-s07": (True, [HEAD, profile.slow_s, *whole()[1:]]),
            "fb-s08": (True, [HEAD, ROLE, *words(0, 40), Act.CUT]),
            "fb-s09": (True, [HEAD, ROLE, *words(0, 20), profile.stall_s]),
            "fb-s10": (True, [HEAD, ROLE, *words(0, 9), b"data: {broken\n\n", *words(9, 60),
                              STOP, chunk(usage=USAGE), DONE]),
            "fb-s11": (True, whole()[:-1]),
            "fb-s12": (True, [refusal(400, {"error": {"message": "too long", "code": code}})]),
            "fb-s13": (True, [refusal(400, {"error": {"message": "flagged", "code": filtered}})]),
            "fb-s14": (True, [HEAD, ROLE, *words(0, 40), Act.CUT]),
            "fb-s15": (profile.down, [refusal(503)]),
            "fb-s16": (True, [refusal(503)]),
        }  # fmt: skip
        broken, steps = faults[model]
        return ("fault", steps) if broken else ("200", whole())


class Got(NamedTuple):
    """What the caller got: success, error or hang; its text, usage, model; the seconds it took."""

    outcome: str
    text: str
    usage: Any
    model: str
    took_s: float


class Case(NamedTuple):
    """`required` and `advisory` are checks: name → whether it held. `ideal`: success or error."""

    id: str
    title: str
    required: Callable[["Run"], dict[str, bool]] = lambda run: {}
    advisory: Callable[["Run"], dict[str, bool]] = lambda run: {}
    ideal: str = "success"
    fallback: str = OK
    continues: bool = False  # with the gateway's own opt-in to go on elsewhere


@dataclass
class Run:
    """One case through one gateway."""

    case: Case
    got: Got
    primary: list[float]
    fallback: list[float]
    alive: bool
    refused_prefill: bool
    verdict: str = ""
    failed: tuple[str, ...] = ()


def gap_s(run: Run) -> float:
    return run.primary[1] - run.primary[0] if len(run.primary) > 1 else -1.0


def within(run: Run, window_s: float) -> int:
    return sum(at_s - run.primary[0] <= window_s for at_s in run.primary)


BOUNDED_S = 20.0
CASES = (
    Case("S01", "429 with Retry-After", lambda r: {"no_hammer": within(r, 0.7) <= 2},
         lambda r: {"retried": len(r.primary) >= 2, "retry_after_honoured": gap_s(r) >= 0.9}),
    Case("S02", "429 without it, persistent",
         lambda r: {"no_hammer": within(r, 3) <= 4, "bounded": len(r.primary) <= 6}),
    Case("S03", "500 once, then healthy",
         advisory=lambda r: {"same_provider_retry": len(r.primary) >= 2}),
    Case("S04", "503 persistent", lambda r: {"bounded": len(r.primary) <= 6}),
    Case("S05", "reset before headers"),
    Case("S06", "no response at all", lambda r: {"within_budget": r.got.took_s <= BOUNDED_S},
         lambda r: {"silent_route_not_retried": len(r.primary) <= 1}),
    Case("S07", "slow first token", advisory=lambda r: {"ttft_limit": bool(r.fallback)}),
    Case("S08", "stream cut after 40 of 60"),
    Case("S09", "stream stalls",
         lambda r: {"bounded": r.got.took_s <= BOUNDED_S, "alive_after": r.alive}),
    Case("S10", "malformed chunk", lambda r: {"alive_after": r.alive},
         lambda r: {"recovered_in_place": r.got.text == ANSWER}),
    Case("S11", "no [DONE]", lambda r: {"prompt_finalise": r.got.took_s <= 8},
         lambda r: {"usage_reported": bool(r.got.usage)}),
    Case("S12", "context length exceeded", lambda r: {"no_same_model_retry": len(r.primary) == 1}),
    Case("S13", "content filter", lambda r: {"no_same_model_retry": len(r.primary) == 1},
         lambda r: {"routed_around": not r.fallback}, ideal="error"),
    Case("S14", "fallback refuses prefill",
         lambda r: {"no_masking": not (r.got.outcome == "error" and r.refused_prefill)},
         fallback="fb-ok-noprefill"),
    Case("S16", "fail-over accounting",
         lambda r: {"reports_fallback_model": r.got.model.endswith(OK),
                    "bounded": len(r.primary) <= 6},
         lambda r: {"usage_present": bool(r.got.usage)}),
    Case("S08+", "cut, with the opt-in to go on", continues=True),
    Case("S14+", "prefill refused, with the opt-in",
         lambda r: {"no_masking": not r.refused_prefill}, fallback="fb-ok-noprefill",
         continues=True),
)  # fmt: skip
# (model, its fallback, does the request ask to go on elsewhere) → what the caller got
Ask = Callable[[str, str, bool], Awaitable[Got]]


async def run_case(case: Case, wall: Wall, ask: Ask) -> Run:
    wall.reset()
    model = f"fb-{case.id.lower().rstrip('+')}"
    got = await ask(model, case.fallback, case.continues)
    log = list(wall.log)
    alive = (await ask(OK, OK, False)).text == ANSWER
    run = Run(
        case,
        got,
        [at_s for at_s, name, _ in log if name == model],
        [at_s for at_s, name, _ in log if name == case.fallback],
        alive,
        any(what == "prefill refused" for _, _, what in log),
    )
    judge(run)
    return run


def judge(run: Run) -> None:
    """pass, partial, safe or fail, as the public bench says."""
    got, case = run.got, run.case
    truncated = got.outcome == "success" and got.text != ANSWER
    required = {"no_hang": got.outcome != "hang", "no_truncated_success": not truncated}
    required |= case.required(run)
    broken = tuple(name for name, held in required.items() if not held)
    advice = tuple(name for name, held in case.advisory(run).items() if not held)
    rescued = got.outcome == case.ideal or (case.ideal == "error" and got.text == ANSWER)
    if broken:
        run.verdict, run.failed = "fail", broken
    elif not rescued:
        run.verdict = "safe"
    else:
        run.verdict, run.failed = ("partial", advice) if advice else ("pass", ())


async def run_all(wall: Wall, ask: Ask) -> list[Run]:
    return [await run_case(case, wall, ask) for case in CASES]


class Flap(NamedTuple):
    """S15: how many of the requests during the outage were served, how often the primary was asked
    then, and after how many requests it served again."""

    served: int
    asked: int
    back_after: int | None


async def run_flap(wall: Wall, ask: Ask, recover: Callable[[], Awaitable[None]],
                   count: int = 10) -> Flap:  # fmt: skip
    """The primary is down, then healthy; `recover` lets the time of an open breaker pass."""
    wall.reset()
    wall.profile.down = True
    served = 0
    for _ in range(count):
        served += (await ask("fb-s15", OK, False)).text == ANSWER
    asked = len(wall.seen("fb-s15"))
    wall.profile.down = False
    await recover()
    for number in range(count):
        before = len(wall.seen("fb-s15"))
        got = await ask("fb-s15", OK, False)
        if got.text == ANSWER and len(wall.seen("fb-s15")) > before:
            return Flap(served, asked, number)
    return Flap(served, asked, None)


def table(runs: Sequence[Run]) -> list[str]:
    lines = ["| case | verdict | attempts | why |", "| --- | --- | --- | --- |"]
    for run in runs:
        tried = f"{len(run.primary)} + {len(run.fallback)}"
        why = ", ".join(run.failed)
        lines.append(f"| {run.case.id} {run.case.title} | {run.verdict} | {tried} | {why} |")
    return lines


def client(http: httpx.AsyncClient, path: str, headers: dict[str, str], *,
           fallbacks: str = "models", prefix: str = "", extra: dict[str, Any] | None = None,
           limit_s: float = 130.0) -> Ask:  # fmt: skip
    """An OpenAI client of a gateway. `fallbacks`: the field in which it takes other models."""

    async def ask(model: str, fallback: str, continues: bool) -> Got:
        body = {"model": prefix + model, "stream": True, "stream_options": {"include_usage": True},
                "messages": [{"role": "user", "content": "Explain."}],
                **({fallbacks: [prefix + fallback]} if fallback != model else {}),
                **(extra or {})}  # fmt: skip
        if continues:
            body["stream_continuation"] = True
        began_s = time.monotonic()
        said: list[str] = []
        usage, named, outcome = None, "", "error"
        try:
            async with (
                asyncio.timeout(limit_s),
                http.stream("POST", path, json=body, headers=headers) as answer,
            ):
                if answer.status_code == 200:
                    outcome = "success"
                    async for line in answer.aiter_lines():
                        if not line.startswith("data: {"):
                            continue
                        frame = json.loads(line[6:])
                        if frame.get("error"):
                            outcome = "error"
                            break
                        usage = frame.get("usage") or usage
                        named = frame.get("model") or named
                        for choice in frame.get("choices") or ():
                            said.append((choice.get("delta") or {}).get("content") or "")
                else:
                    await answer.aread()
        except TimeoutError:
            outcome = "hang"
        except httpx.HTTPError:
            outcome = "error"
        text = "".join(said)
        return Got(outcome, text, usage, named, time.monotonic() - began_s)

    return ask


# ------------------------------------------------------------------ by hand, for others


def litellm_config(url: str) -> str:
    names = sorted({f"fb-s{n:02}" for n in range(1, 17)} | {OK, "fb-ok-noprefill"})
    lines = ["model_list:"]
    for name in names:
        lines += [f"  - model_name: {name}", "    litellm_params:", f"      model: openai/{name}",
                  f"      api_base: {url}/v1", "      api_key: sk-x", "      timeout: 3",
                  "      stream_timeout: 3"]  # fmt: skip
    lines += ["litellm_settings:", "  num_retries: 2", "  telemetry: false",
              "general_settings:", "  master_key: sk-bench"]  # fmt: skip
    return "\n".join(lines) + "\n"


async def by_hand(url: str, key: str, wall: Wall, fallbacks: str) -> None:
    async with httpx.AsyncClient(timeout=140) as http:
        headers = {"authorization": f"Bearer {key}"}
        ask = client(http, f"{url}/chat/completions", headers, fallbacks=fallbacks)
        for _ in range(240):
            if (await ask(OK, OK, False)).text == ANSWER:
                break
            await asyncio.sleep(0.5)
        runs = await run_all(wall, ask)

        async def recover() -> None:
            await asyncio.sleep(6)

        flap = await run_flap(wall, ask, recover)
        print("\n".join(table(runs)))
        print(f"S15: {flap}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="")
    parser.add_argument("--key", default="sk-bench")
    parser.add_argument("--fallbacks", default="fallbacks")
    parser.add_argument("--litellm", default="", help="a virtualenv with its proxy")
    asked = parser.parse_args()
    wall = Wall(Profile(retry_after_s=1, slow_s=5.0, stall_s=5.0))
    print(f"the wall listens at {wall.upstream.url}/v1", file=sys.stderr)
    rival = None
    try:
        if asked.litellm:
            file = Path(tempfile.mkdtemp()) / "litellm.yaml"
            file.write_text(litellm_config(wall.upstream.url))
            rival = subprocess.Popen(
                [f"{asked.litellm}/bin/litellm", "--config", str(file), "--host", "127.0.0.1",
                 "--port", "4077", "--telemetry", "False"],
                env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            asked.url = "http://127.0.0.1:4077"
        asyncio.run(by_hand(asked.url, asked.key, wall, asked.fallbacks))
    finally:
        wall.stop()
        if rival is not None:
            rival.terminate()
            rival.wait(20)


if __name__ == "__main__":
    main()
