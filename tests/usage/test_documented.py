"""Every operation of usage answers what its model says, closed objects included."""

from tests.api.usage_desk import REQUESTS, names
from tests.usage.test_api import asked
from tests.world import World


async def test_answers_are_what_their_models_say(world: World) -> None:
    from gatewayz.api.usage_operations import USAGE_OPERATIONS

    account = await world.account()
    (id,) = await asked(world, account, 1)
    for operation in USAGE_OPERATIONS:
        found = await names(world, operation, account)
        path = operation.path.format(**({"id": id, "month": "2026-11"} | found))
        body = REQUESTS.get((operation.method, operation.path))
        if body and "generation_id" in body:
            body = body | {"generation_id": id}
        answer = await world.client.request(
            operation.method, path, headers=account.headers, json=body
        )
        assert answer.status_code == operation.status, (path, answer.text)
        assert operation.answer is not None
        operation.answer.model_validate_json(answer.content, strict=False)
