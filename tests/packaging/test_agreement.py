"""functions/, template.yaml and vercel.json describe one system; here they are held equal."""

import ast
import json
import re
from itertools import pairwise
from typing import Any

import pytest

from gatewayz.core.settings import describe_settings, load_settings
from gatewayz.local.mount import mount_functions
from gatewayz.runtime import entries
from tests.packaging.deployables import (
    ALL,
    CLOCKED,
    FUNCTIONS,
    GLOBALS,
    HTTP,
    RESOURCES,
    ROOT,
    TEMPLATE,
    VERCEL,
    Function,
    logical_id,
    resources_of,
    sample_of,
)

SETTLE_S = 15  # D38: what a request needs to end well before its platform ends it
FALLBACK = "chat"
each_function = pytest.mark.parametrize("function", ALL, ids=lambda f: f.name)
each_http = pytest.mark.parametrize("function", HTTP, ids=lambda f: f.name)
each_clocked = pytest.mark.parametrize("function", CLOCKED, ids=lambda f: f.name)


def _minutes(schedule: str) -> float:
    """The period of `rate(5 minutes)`, of AWS's six-field cron and of `*/5 * * * *`."""
    if found := re.fullmatch(r"rate\((\d+) minutes?\)", schedule):
        return int(found[1])
    fields = schedule.removeprefix("cron(").removesuffix(")").split()
    minute, hour = fields[:2]
    assert set(fields[2:]) <= {"*", "?"}, schedule
    if minute.isdigit() and hour.isdigit():
        return 24 * 60
    assert hour == "*", schedule
    if minute.isdigit():
        return 60
    return 1 if minute == "*" else int(minute.removeprefix("*/"))


def test_every_function_stands_in_all_three_and_nothing_else_does() -> None:
    names = {function.name for function in ALL}
    assert set(VERCEL["services"]) == names
    assert set(resources_of("AWS::Serverless::Function")) == {logical_id(name) for name in names}
    assert {"chat", "settle_charges", "sweep_holds"} <= names


@each_function
def test_a_function_is_a_folder_with_one_module(function: Function) -> None:
    """A second module has no name that works on every platform."""
    files = {path.name for path in function.folder.iterdir() if path.name != "__pycache__"}
    expected = {f"{function.entry}.py"} | ({"run.sh"} if function.streams else set())
    assert files == expected


@each_function
def test_both_platforms_start_the_module_that_is_there(function: Function) -> None:
    assert function.resource["CodeUri"] == f"functions/{function.name}/"
    handler = function.resource.get("Handler", GLOBALS["Handler"])
    assert handler == ("run.sh" if function.streams else f"{function.entry}.lambda_handler")
    assert function.service["root"] == f"functions/{function.name}"
    assert function.service["entrypoint"] == f"{function.entry}:app"
    # Any other way of naming the runtime ignores the build command without a word.
    assert function.service["framework"] == "python"
    module = function.load()
    assert callable(module.app)
    assert hasattr(module, "lambda_handler") is not function.streams


def test_streaming_functions_start_alike() -> None:
    scripts = [function.folder / "run.sh" for function in ALL if function.streams]
    assert len({script.read_bytes() for script in scripts}) == 1
    assert [oct(script.stat().st_mode & 0o777) for script in scripts] == ["0o755"] * len(scripts)


def _aws_owner(path: str, method: str) -> str | None:
    """Who answers a path at the REST API: the exact path first, then the deepest `{proxy+}`;
    of one path, the method that is named."""
    best: tuple[int, bool, str] | None = None
    for function in HTTP:
        for event in function.events:
            known = event["Path"]
            if event["Method"] not in ("ANY", method):
                continue
            prefix = known.removesuffix("{proxy+}")
            exact = path == known
            below = known != prefix and path.startswith(prefix) and len(path) > len(prefix)
            if exact or below:
                named = event["Method"] == method
                rank = (1000 if exact else len(prefix), named, function.name)
                best = max(best, rank) if best else rank
    return best[2] if best else None


def _vercel_owner(path: str) -> str | None:
    """Who answers a path at Vercel: the first rewrite that fits."""
    for rule in VERCEL["rewrites"]:
        source, group = str(rule["source"]), ""
        if found := re.search(r":\w+(\(.+\))$", source):
            source, group = source[: found.start()], found[1]
        pattern = re.escape(source).replace(r"/:path\*", "(/.*)?") + group
        if re.fullmatch(pattern, path):
            return str(rule["destination"]["service"])
    return None


@each_http
def test_every_route_leads_to_its_function_on_every_home(function: Function) -> None:
    routes = function.routes()
    assert routes
    for route, methods in routes:
        path = sample_of(route)
        assert _vercel_owner(path) == function.name, path
        for method in methods - {"HEAD"}:
            assert _aws_owner(path, method) == function.name, f"{method} {path}"


@each_http
def test_no_platform_routes_where_no_route_is(function: Function) -> None:
    samples = [sample_of(route) for route, _ in function.routes()]
    sources = [
        r["source"] for r in VERCEL["rewrites"] if r["destination"]["service"] == function.name
    ]
    for known in [event["Path"] for event in function.events] + sources:
        prefix = re.sub(r"/(\{proxy\+\}|:path\*|:\w+\(.+\))$", "", known)
        if not prefix:
            assert function.name == FALLBACK
        else:
            assert any(s in (known, prefix) or s.startswith(prefix + "/") for s in samples), known


def test_what_no_route_takes_gets_the_chat_functions_404() -> None:
    for path in ("/v1/nothing", "/favicon.ico"):
        assert _aws_owner(path, "GET") == _vercel_owner(path) == FALLBACK
    mount_functions()  # refuses two functions that claim one path


def test_a_path_parameter_takes_a_whole_part_of_the_path() -> None:
    """REST API: `/{model}:generate` is refused, `/{proxy+}` is not."""
    for function in HTTP:
        for event in function.events:
            for part in event["Path"].split("/"):
                assert "{" not in part or re.fullmatch(r"\{[^}]+\}", part), event["Path"]


@each_function
def test_the_time_limits_agree(function: Function) -> None:
    if function.streams:
        for event in function.events:
            assert event["ResponseTransferMode"] == "RESPONSE_STREAM"
            assert event["TimeoutInMillis"] == function.timeout_s * 1000
        aws_s = float(function.variables["GATEWAYZ_DEADLINE_S"])
        vercel_s = float(VERCEL["env"]["GATEWAYZ_DEADLINE_S"])
        assert (aws_s, vercel_s) == (function.timeout_s - SETTLE_S, function.duration_s - SETTLE_S)
    elif function.entry == "app":
        assert function.timeout_s < 29  # API Gateway's own limit of a buffered answer
        assert function.duration_s >= function.timeout_s
    else:
        assert min(function.timeout_s, function.duration_s) > entries.DRAIN_S + 10


def test_a_message_stays_hidden_for_six_runs_of_its_worker() -> None:
    queue = RESOURCES["ChargeQueue"]["Properties"]
    worker = next(function for function in CLOCKED if function.name == "settle_charges")
    assert queue["VisibilityTimeout"] == 6 * worker.timeout_s
    source = RESOURCES["SettleChargesSource"]["Properties"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["FunctionName"] == {"Ref": "SettleCharges"}
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {
        "Fn::GetAtt": ["ChargeDeadLetters", "Arn"]
    }


@each_clocked
def test_both_clocks_call_a_job_as_often_as_it_asks(function: Function) -> None:
    """A worker is woken by its queue on AWS; elsewhere the clock empties the queue in Postgres."""
    path = f"/jobs/{function.name}"
    assert _vercel_owner(path) == function.name
    (cron,) = [cron for cron in VERCEL["crons"] if cron["path"] == path]
    if function.entry == "worker":
        assert (cron["schedule"], function.events) == ("* * * * *", [])
        return
    (tick,) = function.events
    assert tick["Type"] == "ScheduleV2"
    assert function.name.replace("_", "-") in tick["Name"]["Fn::Sub"]
    minutes = _minutes(tick["ScheduleExpression"])
    assert _minutes(cron["schedule"]) == minutes
    assert function.load().schedule.every_s(load_settings({})) == minutes * 60


@each_function
def test_a_function_has_the_layers_that_its_kind_needs(function: Function) -> None:
    """That they suffice is shown in test_layers.py, by running it on them."""
    assert function.sets == (["edge"] if function.streams else ["edge", "control"])
    assert function.layers[0] == "CodeLayer"
    paths = [f"../../layers/{name}/requirements.txt" for name in function.sets]
    command = ["uv", "pip", "install", "--require-hashes", *(w for p in paths for w in ("-r", p))]
    assert function.service["buildCommand"].split() == command


FOREIGN = re.compile(r"AWS_LAMBDA_EXEC_WRAPPER|AWS_LWA_[A-Z_]+")  # read by the web adapter


LAMBDA_EVENT_BYTES = 6 * 1024 * 1024


def test_the_largest_body_fits_into_an_event_of_lambda() -> None:
    """Every body is base64 in the event (BinaryMediaTypes), besides headers and the context."""
    (api,) = resources_of("AWS::Serverless::Api").values()
    assert api["BinaryMediaTypes"] == ["*~1*"]
    limits = [
        int(of["Environment"]["Variables"]["GATEWAYZ_MAX_BODY_BYTES"])
        for of in [GLOBALS, *(r["Properties"] for r in RESOURCES.values())]
        if "GATEWAYZ_MAX_BODY_BYTES" in of.get("Environment", {}).get("Variables", {})
    ]
    assert limits
    assert all(-(-limit // 3) * 4 + 256 * 1024 < LAMBDA_EVENT_BYTES for limit in limits)


def test_every_variable_that_is_set_is_read_by_somebody() -> None:
    known = {row.env for row in describe_settings()}
    given = set(GLOBALS["Environment"]["Variables"]) | set(VERCEL["env"])
    for function in ALL:
        given |= set(function.variables)
    assert {name for name in given if not FOREIGN.fullmatch(name)} <= known


def test_no_secret_stands_in_the_template() -> None:
    secret = {row.env for row in describe_settings() if row.secret}
    shared = GLOBALS["Environment"]["Variables"]
    places = [shared, *(function.variables for function in ALL)]
    named = [(name, value) for place in places for name, value in place.items() if name in secret]
    assert {"DATABASE_URL", "GATEWAYZ_KEY_PEPPER"} <= {name for name, _ in named}
    for name, value in named:
        choices = value["Fn::If"][1:] if "Fn::If" in value else [value]
        for choice in choices:
            source = f"{{{{resolve:secretsmanager:${{SettingsSecret}}:SecretString:{name}}}}}"
            assert choice in ({"Fn::Sub": source}, {"Ref": "AWS::NoValue"})
    assert not {name for name in secret if name in VERCEL["env"]}
    for name, parameter in TEMPLATE["Parameters"].items():
        assert not re.search("password|token|pepper|key", name, re.IGNORECASE)
        assert "NoEcho" not in parameter, "a secret in a parameter is in the stack's history"


SENDS = "sqs:SendMessage"
RECEIVES = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
COUNTS = "sqs:GetQueueAttributes"
CREDENTIALS = "secretsmanager:GetSecretValue"
ROLES = {
    "chat": {SENDS, CREDENTIALS},
    "embeddings": {SENDS, CREDENTIALS},
    "models": {CREDENTIALS},
    "billing": {SENDS, CREDENTIALS},
    "subscriptions": {CREDENTIALS},
    "stripe_webhook": {SENDS, CREDENTIALS},
    "apply_payments": RECEIVES | {CREDENTIALS},
    "admin": {CREDENTIALS},
    "account": {CREDENTIALS},
    "people": {CREDENTIALS},
    "check_health": {CREDENTIALS},
    "usage": {"s3:GetObject"},
    "review_usage": {CREDENTIALS, "s3:PutObject", "s3:DeleteObject"},
    "sync_models": {CREDENTIALS},
    "settle_charges": RECEIVES | {SENDS},
    "status": {COUNTS},
    "reconcile_ledger": {COUNTS, CREDENTIALS},
    "run_daily": {SENDS, CREDENTIALS},
    "send_notices": {CREDENTIALS},
    "provider_keys": {CREDENTIALS},
    "telemetry": {COUNTS, CREDENTIALS},
    "export_telemetry": {CREDENTIALS},
}


@each_function
def test_a_role_may_only_what_its_function_does(function: Function) -> None:
    """SAM makes one role for each function; it gets these actions on named resources."""
    assert "Role" not in function.resource
    allowed: set[str] = set()
    for policy in function.resource.get("Policies", []):
        assert isinstance(policy, dict), "a managed policy allows more than one thing"
        for statement in policy["Statement"]:
            actions = statement["Action"]
            allowed |= {actions} if isinstance(actions, str) else set(actions)
            # objects of a bucket are named by where they begin
            text = json.dumps(statement["Resource"]).replace("Bucket.Arn}/exports/*", "")
            assert text != '"*"'
            assert "*" not in text
    assert allowed == ROLES.get(function.name, set())
    assert not [event for event in function.events if event["Type"] == "SQS"]


@each_function
def test_a_function_that_may_use_a_thing_is_told_which(function: Function) -> None:
    allowed = ROLES.get(function.name, set())
    queues = {"SQS_CHARGES_URL": "ChargeQueue", "SQS_PAYMENTS_URL": "PaymentQueue"}
    told = [name for name in queues if name in function.variables]
    assert all(function.variables[name] == {"Ref": queues[name]} for name in told)
    # who is woken by its queue need not know where it is
    asks = COUNTS in allowed and not allowed >= RECEIVES
    assert bool(told) == (SENDS in allowed or asks)
    tells_secret = function.variables.get("GATEWAYZ_AWS_SECRET") == {"Ref": "CredentialsSecret"}
    assert tells_secret == (CREDENTIALS in allowed)


def test_streams_pass_the_gateway_and_logs_end() -> None:
    assert RESOURCES["Api"]["Properties"]["EndpointConfiguration"] == {"Type": "REGIONAL"}
    assert GLOBALS["LoggingConfig"] == {"LogGroup": {"Ref": "Logs"}}
    assert "RetentionInDays" in RESOURCES["Logs"]["Properties"]
    assert RESOURCES["ChatUrl"]["Properties"]["InvokeMode"] == "RESPONSE_STREAM"


def _logged() -> set[str]:
    """Event names of ERROR lines, and `evidence` for those that carry a charge whole."""
    names: set[str] = set()
    for path in (ROOT / "shared").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    ast.Attribute(_, "error" | "exception"), [ast.Constant(str(name)), *_]
                ):
                    names.add(name)
                case ast.Call(ast.Attribute(_, "evidence")):
                    names.add("evidence")
    return names


def test_the_alarm_waits_for_lines_that_are_written() -> None:
    pattern: str = RESOURCES["MoneyLines"]["Properties"]["FilterPattern"]
    names = set(re.findall(r'\$\.event = "(\w+)"', pattern)) | {"evidence"}
    assert '$.evidence = "*"' in pattern
    assert names <= _logged()


def test_every_alarm_reaches_somebody() -> None:
    alarms = resources_of("AWS::CloudWatch::Alarm")
    assert len(alarms) >= 3
    composite = resources_of("AWS::CloudWatch::CompositeAlarm")
    parts = {n for c in composite.values() for n in re.findall(r"\w+Alarm", str(c["AlarmRule"]))}
    for name, alarm in {**alarms, **composite}.items():
        if name not in parts:
            assert alarm["AlarmActions"] == [{"Ref": "Alarms"}], name


def test_service_names_and_rewrites_are_what_vercel_takes() -> None:
    for name in VERCEL["services"]:
        assert re.fullmatch(r"[a-z]([a-z_-]*[a-z])?", name)
    owners: list[Any] = [rule["source"] for rule in VERCEL["rewrites"]]
    assert len(owners) == len(set(owners))
    assert owners[-1] == "/:path*", "what takes everything comes last"
    assert all(a != b for a, b in pairwise(owners))
    assert FUNCTIONS.is_dir()
