"""Provider rows: the bundled ones are whole, and a wrong one is refused with one clear line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewayz.catalog.listings import SHAPES
from gatewayz.core.settings import SettingsError
from gatewayz.dialects.openai_chat.request import decode_request, forward_request
from gatewayz.providers.config import Provider, load_providers
from gatewayz.providers.tables import MAX_FILE_BYTES, TableError

# providers.md, section 1: every row of its table that serves chat, by our slugs, and the further
# ones of its last row.
CHAT_ROWS = [
    "openai", "anthropic", "google", "google-vertex", "aws-bedrock", "aws-bedrock-mantle",
    "azure-openai", "azure-ai-foundry", "xai", "mistral", "cohere", "deepseek",
    "alibaba-dashscope", "moonshot", "minimax", "zai", "xiaomi-mimo", "groq", "cerebras",
    "sambanova", "fireworks", "together", "deepinfra", "novita", "nebius", "hyperbolic",
    "featherless", "perplexity", "openrouter", "huggingface", "cloudflare-workers-ai",
    "vercel-ai-gateway", "helicone", "aihubmix", "chutes", "near-ai", "clarifai", "akash",
    "friendli", "baseten", "lambda", "nvidia-nim", "github-models", "github-copilot", "ai21",
    "inference-net", "parasail", "nscale", "venice", "ollama", "ollama-cloud", "vllm",
    "llamacpp", "lmstudio", "avian", "crusoe", "doubleword", "databricks", "snowflake",
    "heroku", "scaleway", "siliconflow", "ovhcloud", "wandb", "io-net", "writer", "upstage",
    "reka",
]  # fmt: skip
LOCAL = ["ollama", "llamacpp", "lmstudio", "vllm"]
CHAT = {"chat", "messages", "generate"}
ROOT = Path(__file__).resolve().parents[3]
SANDBOX_URL = "http://127.0.0.1:9000/v1"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return to_file


def row(**changes: str) -> str:
    """A good row as TOML, with lines changed; a value of "" leaves its line out."""
    lines = {
        "name": '"Mine"',
        "dialect": '"openai_chat"',
        "base_url": '"https://api.example.com/v1"',
        "credential": '"MINE_API_KEY"',
    } | changes
    return "[mine]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value)


def load_mine(write: Write, text: str) -> Provider:
    return load_providers(write(text))["mine"]


def test_every_provider_of_the_facts_that_serves_chat_has_a_row() -> None:
    providers = load_providers()
    assert len(CHAT_ROWS) >= 45
    assert set(CHAT_ROWS) <= providers.keys()
    for slug in CHAT_ROWS:
        row = providers[slug]
        assert row.endpoints & CHAT, slug
        assert row.local == (slug in LOCAL)
        if row.local:
            assert row.ports
            assert row.base_url.startswith("http://127.0.0.1:")
        else:
            assert row.base_url.startswith("https://")
            assert row.credential


def test_what_was_wound_down_or_is_not_for_sale_is_known_and_switched_off() -> None:
    off = [slug for slug, row in load_providers().items() if not row.enabled]
    assert off == ["lambda", "github-copilot"]


def test_the_kind_and_unit_of_every_listing_are_some_that_are_read() -> None:
    for row in load_providers().values():
        if row.listing is not None:
            assert row.listing.price_unit in SHAPES[row.listing.kind].units, row.slug


def test_the_size_of_the_token_limit_is_named_as_each_provider_names_it() -> None:
    """One of the two words is sent, never both, and the one that the facts state."""
    new = {"openai", "azure-openai", "aws-bedrock-mantle", "xai", "groq", "cerebras", "venice",
           "snowflake", "xiaomi-mimo"}  # fmt: skip
    both = {"aihubmix", "github-models", "vllm"}
    for slug, row in load_providers().items():
        if row.dialect != "openai_chat" or slug in both or not row.endpoints & CHAT:
            continue
        for asked in ("max_tokens", "max_completion_tokens"):
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], asked: 9}
            sent = json.loads(forward_request(decode_request(body), row.target("x")).body)
            expected = "max_completion_tokens" if slug in new else "max_tokens"
            named = {name for name in sent if name.startswith("max_")}
            assert named == {expected}, slug


def test_reading_the_rows_loads_no_dialect_that_nobody_speaks_yet() -> None:
    code = (
        "import sys; from gatewayz.providers.config import load_providers; load_providers();"
        "print([m for m in sys.modules if m.startswith('gatewayz.dialects.') and 'codec' in m])"
    )
    environment = {"PYTHONPATH": str(ROOT / "shared")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_sandbox_is_there_only_where_the_settings_give_its_address() -> None:
    assert "sandbox" not in load_providers()
    sandbox = load_providers(sandbox_url=SANDBOX_URL + "/")["sandbox"]
    assert (sandbox.base_url, sandbox.sandbox, sandbox.credential) == (SANDBOX_URL, True, "")


def test_reasoning_is_counted_outside_the_output_at_the_one_provider_that_does_so() -> None:
    providers = load_providers()
    outside = [p.slug for p in providers.values() if "reasoning_outside" in p.usage]
    assert outside == ["xai"]
    assert providers["mistral"].usage == {"audio_outside": "true"}


def test_a_row_steers_what_is_sent() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 9,
        "seed": 1,
        "user": "u",
        "stream": True,
    }
    request = decode_request(body)
    sent = forward_request(request, load_providers()["mistral"].target("mistral-x")).body
    assert b'"max_tokens":9' in sent
    assert b'"random_seed":1' in sent
    assert b'"model":"mistral-x"' in sent
    for absent in (b"max_completion_tokens", b'"user":', b"stream_options"):
        assert absent not in sent
    sent = forward_request(request, load_providers()["cerebras"].target("x")).body
    assert b'"stream_options":{"include_usage":true}' in sent


def test_a_row_of_the_operator_is_loaded_beside_the_bundled_ones(write: Write) -> None:
    mine = load_mine(
        write,
        row(auth='"header:x-api-key"', timeouts="{ first_token_s = 5, total_s = 7.5 }")
        + 'drop = ["logprobs"]\nclamp = { temperature = [0, 1.5] }\nstream_usage = "none"\n'
        '[mine.usage]\ncached_input = "usage.cached_tokens"\n'
        '[mine.errors]\ngone = "ModelNotFound"\n',
    )
    assert mine.auth == "header:x-api-key"
    assert (mine.timeouts.first_token_s, mine.timeouts.total_s) == (5.0, 7.5)
    assert mine.timeouts.idle_s == 60.0
    target = mine.target("Native/Id")
    assert target.native_id == "Native/Id"
    assert target.drop == {"logprobs"}
    assert target.clamp == {"temperature": (0.0, 1.5)}
    assert target.stream_usage == "none"
    assert target.usage == {"cached_input": "usage.cached_tokens"}
    assert target.errors == {"gone": "ModelNotFound"}


def test_an_offer_that_reasons_is_given_longer_for_its_first_token() -> None:
    limits = load_providers()["groq"].timeouts
    assert limits.first_token(reasons=False) == 30.0
    assert limits.first_token(reasons=True) == 120.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": ""}, "[mine] name: is missing"),
        ({"name": "7"}, "[mine] name: must be a string"),
        ({"dialect": '"cobol"'}, "[mine] dialect: 'cobol' is not one of openai_chat"),
        ({"base_url": ""}, "[mine] base_url: is missing"),
        ({"base_url": '"ftp://x.example"'}, "is not an http(s) URL"),
        ({"base_url": '"https://"'}, "is not an http(s) URL"),
        ({"base_url": '"https://x.example:99999"'}, "is not a URL"),
        ({"base_url": '"http://api.example.com/v1"'}, "must be https"),
        ({"base_url": '"http://10.0.0.7/v1"'}, "must be https"),
        ({"base_url": '"https://me:pw@x.example"'}, "may hold no credentials"),
        ({"base_url": '"https://x.example/v1?a=1"'}, "may hold no credentials"),
        ({"credential": ""}, "[mine] credential: is missing"),
        ({"credential": '"sk-live-123"'}, "[mine] credential: 'sk-live-123' is not of the form"),
        ({"auth": '"magic"'}, "[mine] auth:"),
        ({"quirks": '["dance"]'}, "[mine] quirks: 'dance' is nothing that its dialect implements"),
        ({"api_key": '"x"'}, "[mine] api_key: unknown key"),
        ({"local": '"yes"'}, "[mine] local: must be true or false"),
        ({"drop": '"user"'}, "[mine] drop: must be a list of strings"),
        ({"drop": '["model"]'}, "[mine] drop: 'model' is written by the gateway"),
        ({"rename": '{ seed = "messages" }'}, "[mine] rename: 'messages' is written by"),
        ({"rename": "{ seed = 1 }"}, "[mine.rename] seed: must be a string"),
        ({"clamp": "{ temperature = [1, 0] }"}, "[mine.clamp] temperature: must be [lowest"),
        ({"clamp": "{ temperature = 1 }"}, "[mine.clamp] temperature: must be [lowest"),
        ({"clamp": '{ temperature = ["0", "1"] }'}, "[mine.clamp] temperature: must be [lowest"),
        ({"clamp": "{ temperature = [nan, 1] }"}, "[mine.clamp] temperature: must be [lowest"),
        ({"stream_usage": '"maybe"'}, "[mine] stream_usage: 'maybe' is not one of"),
        ({"usage": '{ inputs = "usage.x" }'}, "[mine.usage] inputs: unknown key"),
        ({"usage": '{ input = "usage..x" }'}, "[mine.usage] input:"),
        ({"usage": '{ reasoning_outside = "yes" }'}, "[mine.usage] reasoning_outside:"),
        ({"errors": '{ gone = "Vanished" }'}, "[mine.errors] gone: 'Vanished' is not one of"),
        ({"timeouts": "{ first_token_s = 0 }"}, "[mine.timeouts] first_token_s: must be above 0"),
        ({"timeouts": "{ first_token_s = true }"}, "must be a number"),
        ({"timeouts": "{ connect_s = 1 }"}, "[mine.timeouts] connect_s: unknown key"),
        ({"params": "{ region = { default = \"x\" } }"}, "[mine.params.region] from: must name"),
        ({"params": "{ region = { from = [\"R\"] } }"}, "[mine.params.region] from: 'R' is not"),
        ({"base_url": '"https://{region}.example/v1"'}, "{region} is none of the row's params"),
        ({"alternatives": '{ other = "bearer" }'}, "[mine.alternatives] other: is not of the form"),
        ({"alternatives": '{ OTHER_KEY = "magic" }'}, "[mine.alternatives] OTHER_KEY:"),
        ({"headers": '{ Authorization = "x" }'}, "[mine.headers] Authorization: is no header"),
        ({"headers": '{ authorization = "x" }'}, "[mine.headers] authorization: is no header"),
        ({"headers": '{ host = "x" }'}, "[mine.headers] host: is no header"),
        ({"also": "{ cobol = true }"}, "[mine.also] cobol: is no other dialect"),
        ({"also": "{ openai_chat = true }"}, "[mine.also] openai_chat: is no other dialect"),
        ({"also": "{ anthropic = 1 }"}, "[mine.also] anthropic: must be true or a base URL"),
        ({"also": '{ anthropic = "http://a.example" }'}, "must be https"),
        ({"places": "{ eu = { base_url = \"https://e.example\" } }"}, "says not when it is used"),
        ({"places": '{ eu = { base_url = "http://e.example", after = [401] } }'}, "must be https"),
        ({"places": '{ eu = { base_url = "https://e.example", after = [200] } }'}, "no status"),
        ({"paths": '{ "/chat/completions" = "/x/{who}" }'}, "{who} is none of the row's params"),
        ({"paths": '{ chat = "/x" }'}, "[mine.paths] chat: is no path"),
        ({"defaults": "{ temperature = 1 }"}, "'temperature' is the caller's to choose"),
        ({"defaults": "{ x = 0.5 }"}, "[mine.defaults] x: must be a text"),
        ({"variants": "[{ quirks = [\"top_k\"] }]"}, "[mine.variants[0]] models: is missing"),
        ({"variants": '[{ models = ["a*"], dialect = "google" }]'}, "none that the provider"),
        ({"variants": '[{ models = ["a*"], quirks = ["x"] }]'}, "'x' is nothing that its dialect"),
        ({"variants": '[{ models = ["a*"], clamp = {} }]'}, "[mine.variants[0]] clamp: unknown"),
        ({"bytes_only": '["smell"]'}, "[mine] bytes_only: 'smell' is not one of image"),
        ({"endpoints": '["teleport"]'}, "[mine] endpoints: 'teleport' is not one of chat"),
        ({"listing": '{ kind = "openai", price_unit = "cents" }'}, "[mine.listing] price_unit:"),
        ({"listing": '{ kind = "openai", path = "http://x" }'}, "[mine.listing] path:"),
        ({"data": "{ trains = 1 }"}, "[mine.data] trains: must be true or false"),
        ({"data": "{ sells = true }"}, "[mine.data] sells: unknown key"),
        ({"region": '"The Moon"'}, "[mine] region:"),
        ({"quota_rest_s": "-1"}, "[mine] quota_rest_s: must be above 0"),
        ({"ports": "[8000]"}, "[mine] ports: only rows with local = true"),
        ({"local": "true", "ports": "[0]"}, "[mine] ports: '0' is no port"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_with_one_line_naming_file_table_and_key(
    write: Write, changes: dict[str, str], complaint: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_mine(write, row(**changes))
    message = str(refused.value)
    assert message.startswith("mine.toml: ")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url",
    ["http://localhost:9/v1", "http://127.0.0.1/v1", "http://127.9.9.9/v1", "http://[::1]/v1"],
)
def test_plain_http_is_allowed_to_loopback(write: Write, url: str) -> None:
    assert load_mine(write, row(base_url=f'"{url}"')).base_url == url


def test_plain_http_elsewhere_and_no_key_need_local_to_be_said(write: Write) -> None:
    mine = load_mine(write, row(base_url='"http://gpu.lan:8000/v1"', credential="", local="true"))
    assert mine.local


def test_a_slug_cannot_stand_twice(write: Write) -> None:
    with pytest.raises(TableError, match=r"mine.toml: \[groq\] is a provider we know"):
        load_providers(write(row().replace("[mine]", "[groq]")))
    with pytest.raises(TableError, match="not valid TOML"):
        load_providers(write(row() + row()))
    with pytest.raises(TableError, match=r"\[Mine\] is not of the form"):
        load_providers(write(row().replace("[mine]", "[Mine]")))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read: No such file"):
        load_providers(tmp_path / "absent.toml")
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(TableError, match="larger than"):
        load_providers(big)
    big.write_bytes(b"\xff\xfe")
    with pytest.raises(TableError, match="not valid TOML"):
        load_providers(big)
    big.write_text('mine = "no table"')
    with pytest.raises(TableError, match="'mine' must be a table"):
        load_providers(big)
