"""What applications written for OpenAI and Cohere do with embeddings, rerank and moderations, run
in a process of its own by test_embeddings.py.

Prints one JSON object: name of the step → what the SDK made of our answer.
"""

import asyncio
import json
import os
import sys
from typing import Any

import cohere
import openai
from cohere.core.api_error import ApiError

base_url, mount = sys.argv[1], sys.argv[2]
key = os.environ["KEY"]
client = openai.OpenAI(base_url=base_url + mount, api_key=key, max_retries=0, timeout=20)
asynchronous = openai.AsyncOpenAI(base_url=base_url + mount, api_key=key, max_retries=0)
ranker = cohere.ClientV2(api_key=key, base_url=base_url, timeout=20)
older = cohere.Client(api_key=key, base_url=base_url, timeout=20)
TEXTS = ["the sky is blue", "grass is green"]
seen: dict[str, Any] = {}


def step(function: Any) -> None:
    try:
        seen[function.__name__] = function()
    except openai.APIStatusError as error:
        seen[function.__name__] = [type(error).__name__, error.status_code, error.code]
    except ApiError as error:
        seen[function.__name__] = [type(error).__name__, error.status_code, error.body["code"]]


@step
def embeddings() -> Any:
    """The SDK asks for base64 by itself and unpacks it."""
    answer = client.embeddings.create(model="sandbox/embed", input=TEXTS, dimensions=8)
    return {
        "lengths": [len(item.embedding) for item in answer.data],
        "first": answer.data[0].embedding,
        "model": answer.model,
        "tokens": answer.usage.prompt_tokens,
        "cost": answer.usage.model_extra["cost"],
    }


@step
def embeddings_as_floats() -> Any:
    answer = client.embeddings.create(
        model="sandbox/embed", input=TEXTS, dimensions=8, encoding_format="float"
    )
    return answer.data[0].embedding


@step
def embeddings_as_base64() -> Any:
    answer = client.embeddings.create(
        model="sandbox/embed", input=TEXTS, dimensions=8, encoding_format="base64"
    )
    return type(answer.data[0].embedding).__name__


@step
def embeddings_of_tokens() -> Any:
    answer = client.embeddings.create(model="sandbox/embed", input=[[1, 2, 3], [4]], dimensions=8)
    return answer.usage.total_tokens


@step
def embeddings_async() -> Any:
    async def work() -> list[float]:
        answer = await asynchronous.embeddings.create(
            model="sandbox/embed", input=TEXTS[0], dimensions=8
        )
        await asynchronous.close()
        return answer.data[0].embedding

    return asyncio.run(work())


@step
def moderations() -> Any:
    answer = client.moderations.create(
        model="sandbox/moderation", input=["I will hurt you", "good day"]
    )
    return [
        [result.flagged, result.categories.violence, result.category_scores.violence]
        for result in answer.results
    ]


@step
def models() -> Any:
    listed = client.get("/embeddings/models", cast_to=object)
    return [item["id"] for item in listed["data"] if item["id"].startswith("sandbox/")]


@step
def wrong_kind() -> Any:
    return client.embeddings.create(model="sandbox/echo", input="x")


@step
def wrong_length() -> Any:
    return client.embeddings.create(model="sandbox/embed", input="x", dimensions=5000)


@step
def upstream_throttles() -> Any:
    return client.embeddings.create(model="sandbox/embed-err429", input="x")


@step
def rerank() -> Any:
    answer = ranker.rerank(model="sandbox/rerank", query="blue sky", documents=TEXTS, top_n=1)
    return {
        "results": [[r.index, r.relevance_score] for r in answer.results],
        "searches": answer.meta.billed_units.search_units,
    }


@step
def rerank_by_the_older_client() -> Any:
    answer = older.rerank(
        model="sandbox/rerank", query="blue sky", documents=TEXTS, return_documents=True
    )
    return [[r.index, r.document.text] for r in answer.results]


@step
def embed() -> Any:
    answer = ranker.embed(
        model="sandbox/embed", texts=TEXTS, input_type="search_document",
        embedding_types=["float"], output_dimension=8,
    )  # fmt: skip
    return {
        "first": answer.embeddings.float_[0],
        "tokens": answer.meta.billed_units.input_tokens,
    }


@step
def rerank_without_documents() -> Any:
    return ranker.rerank(model="sandbox/rerank", query="x", documents=[])


@step
def rerank_of_an_unknown_model() -> Any:
    return ranker.rerank(model="no/such-model", query="x", documents=["x"])


@step
def rerank_with_a_wrong_key() -> Any:
    stranger = cohere.ClientV2(api_key="gw_test_wrong", base_url=base_url)
    return stranger.rerank(model="sandbox/rerank", query="x", documents=["x"])


@step
def rerank_upstream_throttles() -> Any:
    options = {"max_retries": 0}
    return ranker.rerank(
        model="sandbox/rerank-err429", query="x", documents=["x"], request_options=options
    )


print(json.dumps(seen, default=str))
