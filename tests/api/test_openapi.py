"""The API document against the applications, against a real run, and against every error."""

import ast
import dataclasses
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from gatewayz.accounts.sealing import RING, new_ring
from gatewayz.api.openapi import ERRORS, EVENTS, HEADERS, build_document, examples
from gatewayz.api.operations import OPERATIONS, Operation
from gatewayz.api.schemas.errors import SAMPLES, rendered
from gatewayz.api.schemas.limit_errors import LIMIT_CODES
from gatewayz.core import errors
from gatewayz.core.errors import GatewayError
from gatewayz.local.mount import load_modules, routes_of
from tests.api import door, key_desk, own_desk, shop, telemetry_desk, usage_desk
from tests.billing import conftest as tills
from tests.fakes.stripe.app import FakeStripe
from tests.world import Account, World

# A stand-in for Stripe that this gateway can reach, and prices that stand for plans.
fake, tune = tills.fake, tills.tune
_counters_close = tills._counters_close

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = build_document()
# Codes that no caller of today's routes can be told, and why.
UNTOLD = {
    "nothing_to_change": "staff only",
    "invalid_blob_key": "blobs are written by us only",
    "blob_not_found": "blobs are written by us only",
    "invalid_signature": "for Stripe alone",
    "invalid_event": "for Stripe alone",
    "wrong_mode": "for Stripe alone",
    "link_expired": "links of exports are written by us only",
    "invalid_receipt": "for `gatewayz verify receipt` alone",
    "tunnel_not_allowed": "for the web application's reports alone",
    "not_refundable": "for the staff alone",
    "trial_not_found": "for the staff alone",
    "user_not_found": "for the staff alone",
    "exemption_not_found": "for the staff alone",
    "account_closed": "for the staff alone",
    "role_not_found": "for the staff alone",
    "coupon_not_found": "for the staff alone",
    "not_found": "always raised with a code of its own",
    "forbidden": "always raised with a code of its own",
    "conflict": "no route that creates anything yet",
    "unprocessable": "raised by nobody yet",
}
# Operations of the staff are no part of the document that everybody reads: those below this, and
# whatever else asks for a key of the staff.
STAFF = "/admin/"
# What one other service alone calls, as that service describes it.
HOOKS = ("/api/stripe/webhook", "/monitoring")
SCRAPED = {("get", "/metrics")}
# Nobody puts such an address together: it is written by us, with a signature.
SCRAPED |= {("get", "/v1/exports/{export_id}/parts/{number}")}
# Pages for people, on which they give an application a key.
SCRAPED |= {("get", "/auth"), ("get", "/auth/grant"), ("post", "/auth/grant")}
each = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)


def staff_routes() -> set[tuple[str, str]]:
    from gatewayz.api.staff import staff_of

    found = set()
    for _, module in load_modules("app"):
        for route in getattr(module.app, "routes", None) or ():
            dependant = getattr(route, "dependant", None)
            if dependant and any(d.call is staff_of for d in dependant.dependencies):
                path = route.path.replace(":path}", "}")
                found |= {(m.lower(), path) for m in route.methods - {"HEAD", "OPTIONS"}}
    return found


def calls_at_any_depth(dependant: Any, wanted: Any) -> bool:
    return any(d.call is wanted or calls_at_any_depth(d, wanted) for d in dependant.dependencies)


@pytest.fixture(autouse=True)
def _ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """What customers' own keys are sealed under."""
    monkeypatch.setenv(RING, new_ring())


def described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method]
    return found


def check(value: Any, schema: dict[str, Any]) -> None:
    """AssertionError with every way in which `value` is not what the document says."""
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = Draft202012Validator(whole, format_checker=FormatChecker())
    problems = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(value)]
    assert not problems, "\n".join(problems)


# ---------------------------------------------------------------- the document itself


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"].startswith("3.1")
    ids = [o["operationId"] for path in DOCUMENT["paths"].values() for o in path.values()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)


def test_every_route_is_described_and_nothing_else_is() -> None:
    routes: set[tuple[str, str]] = set()
    for name, module in load_modules("app"):
        known = getattr(module.app, "routes", None)
        if known is None:
            routes |= {("post", path.replace(":path}", "}")) for path in routes_of(name, module)}
        for route in known or ():
            path = route.path.replace(":path}", "}")
            routes |= {(m.lower(), path) for m in route.methods - {"HEAD", "OPTIONS"}}
    hidden = staff_routes() | {("post", path) for path in HOOKS} | SCRAPED
    public = {known for known in routes if not known[1].startswith(STAFF)} - hidden
    assert {(o.method, o.path) for o in OPERATIONS} == public


@each
def test_a_route_asks_for_a_key_exactly_where_the_document_says_so(operation: Operation) -> None:
    from gatewayz.api.app import caller_of

    owner = next(
        module
        for name, module in load_modules("app")
        if operation.path in [p.replace(":path}", "}") for p in routes_of(name, module)]
    )
    routes = getattr(owner.app, "routes", None)
    if routes is None:
        assert not operation.public
        return
    route = next(r for r in routes if r.path.replace(":path}", "}") == operation.path)
    asks = calls_at_any_depth(route.dependant, caller_of)
    assert asks is not operation.public
    assert ("security" in described(operation)) is operation.public
    assert ("invalid_api_key" in operation.errors) is asks


@each
def test_the_parameters_are_those_of_the_path_and_the_handler(operation: Operation) -> None:
    in_path = {p.name for p in operation.parameters if p.place == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", operation.path))
    for code in operation.errors:
        named = described(operation)["responses"][str(rendered(code, operation.form)[0])]
        assert code in named["content"]["application/json"]["examples"]


def test_it_names_no_version_but_our_own_release() -> None:
    """F95."""
    text = json.dumps(DOCUMENT).lower()
    for library in ("fastapi", "pydantic", "starlette", "uvicorn", "postgres 1", "python/"):
        assert library not in text


# ---------------------------------------------------------------- errors


def codes_in_source() -> set[str]:
    """Codes of the error classes, and those given where an error is raised."""
    found = set()
    for name in vars(errors).values():
        if isinstance(name, type) and issubclass(name, GatewayError) and "code" in vars(name):
            found.add(name.code)
    classes = {n for n, v in vars(errors).items() if isinstance(v, type)}
    for folder in ("shared/gatewayz", "functions"):
        for path in (ROOT / folder).rglob("*.py"):
            if "schemas" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(ast.Name(name), _, keywords) if name in classes:
                        for keyword in keywords:
                            match keyword:
                                case ast.keyword("code", ast.Constant(str(code))):
                                    found.add(code)
    return found


def test_every_code_that_is_raised_has_a_sample_and_every_sample_is_raised() -> None:
    raised = codes_in_source()
    assert raised - UNTOLD.keys() - SAMPLES.keys() == set()
    assert not UNTOLD.keys() & SAMPLES.keys()
    # Built from a table of messages, not at a call: dialects/openai_chat/errors.py.
    # … and codes of limits, by their unit and period: inference/limits.py.
    assert SAMPLES.keys() - raised <= {"content_filter", *LIMIT_CODES}


def test_every_sample_is_an_answer_of_some_route_and_fits_its_schema() -> None:
    told = {code for operation in OPERATIONS for code in operation.errors}
    assert SAMPLES.keys() - told == {"route_not_found"}
    for code in SAMPLES:
        for form, model in ERRORS.items():
            example = DOCUMENT["components"]["examples"][f"{code}_{form}"]["value"]
            check(example, {"$ref": f"#/components/schemas/{model.__name__}"})


# ---------------------------------------------------------------- a real run

MESSAGES = [{"role": "user", "content": "Hi"}]
REQUEST = {"model": "sandbox/echo", "max_tokens": 100, "messages": MESSAGES}
CONTENTS = [{"role": "user", "parts": [{"text": "Hi"}]}]
# Wrong at every route: each of them checks one of these.
WRONG = own_desk.WRONG | shop.WRONG | key_desk.WRONG | door.WRONG | usage_desk.WRONG | {
    "temperature": 3, "generationConfig": {"temperature": 3}, "user": 5, "input_type": 5,
}  # fmt: skip
# By the end of the path.
REQUESTS: dict[str, dict[str, Any]] = {
    "/chat/completions": REQUEST,
    "/quote": REQUEST,
    "/batch-compare": {"model_ids": ["sandbox/echo"]},
    "/completions": {"model": "sandbox/echo", "max_tokens": 100, "prompt": "Hi"},
    "/messages": REQUEST,
    "/messages/count_tokens": {"model": "sandbox/echo", "messages": MESSAGES},
    "/responses": {"model": "sandbox/echo", "max_output_tokens": 100, "input": "Hi"},
    ":generateContent": {"contents": CONTENTS, "generationConfig": {"maxOutputTokens": 100}},
    ":streamGenerateContent": {"contents": CONTENTS, "generationConfig": {"maxOutputTokens": 100}},
    ":countTokens": {"contents": CONTENTS},
    "/embeddings": {"model": "sandbox/embed", "input": ["good day"], "dimensions": 4},
    "/embed": {"model": "sandbox/embed", "texts": ["good day"], "output_dimension": 4},
    "/rerank": {"model": "sandbox/rerank", "query": "good", "documents": ["bad day", "good day"]},
    "/moderations": {"model": "sandbox/moderation", "input": "good day"},
    **shop.REQUESTS,
}
# Which of the sandbox's models misbehave at these routes.
MODELS = {"/embeddings": "embed", "/embed": "embed", "/rerank": "rerank",
          "/moderations": "moderation"}  # fmt: skip


def model_at(operation: Operation, behaviour: str) -> str:
    """The sandbox's model of this behaviour that can be asked at the operation."""
    kinds = (kind for end, kind in MODELS.items() if operation.path.endswith(end))
    return f"sandbox/{next(kinds, 'mock')}-{behaviour}"


def request_of(operation: Operation) -> dict[str, Any]:
    own = key_desk.REQUESTS | door.REQUESTS | usage_desk.REQUESTS | telemetry_desk.REQUESTS
    own |= own_desk.REQUESTS
    if (known := own.get((operation.method, operation.path))) is not None:
        return known
    return next(body for end, body in REQUESTS.items() if operation.path.endswith(end))


class Run:
    """Calls operations as their examples say, as one account."""

    def __init__(self, world: World, account: Account, generation: str) -> None:
        self._world, self._account, self._generation = world, account, generation
        self.shop: shop.Shop | None = None
        self.door = door.Door(world)

    async def call(
        self, operation: Operation, *, stream: bool = False, model: str = "", **fields: Any
    ) -> Any:
        values = {
            p.name: self._generation if p.name == "id" else p.example
            for p in operation.parameters
            if p.example
        }
        values |= await key_desk.names(self._world, operation, self._account)
        values |= await usage_desk.names(self._world, operation, self._account)
        values |= await own_desk.names(self._world, operation, self._account)
        values |= await telemetry_desk.names(self._world, operation, self._account)
        values |= self.shop.names if self.shop else {}
        account = await self.door.caller(operation, self._account)
        values |= self.door.names(operation)
        values |= {"alt": "sse"} if stream else {}
        if model and "place" in values:
            maker, _, name = model.partition("/")
            values |= {"place": f"publishers/{maker}", "model": name}
        elif model:
            values["model"] = model
        query = {
            p.name: values[p.name]
            for p in operation.parameters
            if p.place == "query" and p.name in values
        }
        body = None
        if operation.request:
            ours = await own_desk.fields(self._world, operation, self._account)
            body = {**request_of(operation), **ours, **await self.door.fields(operation), **fields}
            if "generation_id" in body:
                body["generation_id"] = self._generation
            if model and "model" in body:
                body["model"] = model
            if stream and operation.form != "google":
                body["stream"] = True
            if stream and operation.says_done:
                body["stream_options"] = {"include_usage": True}
        if self.shop is not None and not stream:
            account = await self.shop.caller(operation, account)
        answer = await self._world.client.request(
            operation.method,
            operation.path.format(**values),
            params=query,
            headers={} if operation.public else account.headers,
            json=body,
        )
        self._world.client.cookies.clear()  # a session is for who asks for it
        if self.shop is not None:
            await self.shop.after(operation, answer)
        return answer


@pytest.fixture
def bill(fake: FakeStripe) -> Any:
    """Two plans on sale."""
    subscriptions = fake.subscriptions
    made = []
    for plan, cents in (("dev", 2000), ("team", 15000)):
        product = subscriptions.create_product({"name": plan})
        price = subscriptions.create_price(
            {"product": product["id"], "unit_amount": str(cents), "currency": "usd",
             "recurring": {"interval": "month"}}
        )  # fmt: skip
        made.append(f"{price['id']}={plan}")
    return lambda billing: dataclasses.replace(billing, prices=" ".join(made))


async def started(world: World, fake: FakeStripe | None = None) -> Run:
    account = await world.account()
    answer = await world.post(account, **REQUEST)
    await world.settle()
    run = Run(world, account, answer.headers["x-generation-id"])
    if fake is not None:
        run.shop = shop.Shop(world, fake)
        await run.shop.open(account)
    return run


def shortened(value: Any) -> Any:
    """Lists of many alike show one; the rest is as it came."""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        return {**value, "data": value["data"][:1]}
    return value


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    # A sum of money may be a whole number of dollars.
    return "number" if type(value) in (int, float) else type(value).__name__


def comparable(recorded: dict[str, Any]) -> dict[str, Any]:
    """The shapes of recorded answers, streams frame by frame."""
    return {
        key: {**shape(entry), "stream": shape(frames(entry.get("stream", "")))}
        for key, entry in recorded.items()
    }


async def test_answers_are_what_the_document_says_and_its_examples_are_real(
    world: World, fake: FakeStripe, tmp_path: Path
) -> None:
    run = await started(world, fake)
    fresh: dict[str, Any] = {}
    for operation in OPERATIONS:
        answer = await run.call(operation)
        assert answer.status_code == operation.status, (operation.path, answer.text)
        assert answer.headers["content-type"].split(";")[0] == operation.media
        always = set(operation.answer_headers) - {"X-Gatewayz-Dropped-Params"}
        assert {name.lower() for name in always} <= set(answer.headers)
        if operation.answer is None:
            continue
        content = described(operation)["responses"][str(operation.status)]["content"]
        check(answer.json(), content["application/json"]["schema"])
        entry: dict[str, Any] = {"answer": shortened(answer.json())}
        if operation.request is not None:
            asked = described(operation)["requestBody"]["content"]["application/json"]
            check(request_of(operation), asked["schema"])
            entry["request"] = request_of(operation)
        if operation.frame is not None:
            stream = await run.call(operation, stream=True)
            event = content[EVENTS]["schema"]["properties"]["data"]
            event = event.get("anyOf", [event])[0]
            for frame in frames(stream.text):
                check(frame, event["contentSchema"])
            entry["stream"] = stream.text
        fresh[f"{operation.method} {operation.path}"] = entry
    written = tmp_path / "examples.json"
    written.write_text(json.dumps(fresh, indent=1, ensure_ascii=False) + "\n")
    assert comparable(examples()) == comparable(fresh), f"cp {written} shared/gatewayz/api/schemas/"


def frames(text: str) -> list[Any]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


async def test_errors_are_what_the_document_says(world: World) -> None:
    run = await started(world)
    poor = Run(world, await world.account(usd=0), "")
    nobody = Run(world, Account("", "gw_test_no", ""), "")
    cases: list[tuple[Run, str, str | dict[str, Any]]] = [
        (run, "invalid_request", WRONG),
        (run, "upstream_rejected", "err400"),
        (nobody, "invalid_api_key", {}),
        (poor, "insufficient_credits", {}),
        (run, "model_not_found", {"model": "sandbox/ecko"}),
        (run, "upstream_rate_limited", "err429"),
        (run, "upstream_invalid_response", "html"),
        (run, "all_providers_failed", "err500"),
        (run, "provider_not_configured", {"model": "openai/gpt-5.4"}),
    ]  # fmt: skip
    for operation in [o for o in OPERATIONS if o.request is not None]:
        chats = operation.tag == "chat"
        other = {"model": "sandbox/embed" if chats else "sandbox/echo"}
        for who, code, fields in [*cases, (run, "wrong_endpoint", other)]:
            if code not in operation.errors:
                continue
            if code == "insufficient_credits" and operation.path.endswith("/moderations"):
                continue  # the sandbox's judge is free, and what is free needs no credit
            status, _ = rendered(code, operation.form)
            if isinstance(fields, str):
                fields = {"model": model_at(operation, fields)}
            answer = await who.call(operation, **fields)
            assert answer.status_code == status, (code, answer.text)
            told = described(operation)["responses"][str(status)]
            check(answer.json(), told["content"]["application/json"]["schema"])
            error = answer.json().get("error", answer.json())
            reason = error.get("details", [{}])[0].get("reason", "").lower()
            assert code in (error["code"], error.get("metadata", {}).get("code"), reason)
            needed = {name for name in told["headers"] if HEADERS[name].get("required")}
            assert {name.lower() for name in needed} <= set(answer.headers)
            assert code in told["content"]["application/json"]["examples"]


async def test_the_document_and_its_page_are_served_and_load_nothing_else(world: World) -> None:
    served = await world.client.get("/openapi.json")
    assert served.json() == DOCUMENT
    assert '"amount_usd":0.000004' in served.text  # as the receipt itself writes it
    page = await world.client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not re.search(r"<script|<link|<img|@import|url\(|(?:src|href)=\W?https?:", page.text)
    for operation in OPERATIONS:
        assert f"<code>{operation.path}</code>" in page.text
    for code in SAMPLES:
        assert f"<code>{code}</code>" in page.text


def test_the_data_plane_never_loads_the_schemas() -> None:
    """The import budget of tests/test_architecture.py forbids all of gatewayz.api."""
    budget = importlib.import_module("tests.test_architecture").HEAVY
    assert {"pydantic", "gatewayz.api"} <= budget
