"""Secrets that AWS keeps: one JSON object in Secrets Manager, or parameters under a path of SSM.

Read whole at the first look, kept for the life of the process, read again when a credential is
refused (at most once a minute), so that a rotation needs no deployment.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from gatewayz.core import clock
from gatewayz.core.errors import DependencyError
from gatewayz.core.log import get_log
from gatewayz.core.settings import SettingsError
from gatewayz.net.http import HttpClient
from gatewayz.stores.aws import AwsClient, AwsIdentity
from gatewayz.stores.secrets import Secrets, parse_bundle

log = get_log(__name__)

TIMEOUT_S = 3.0
REFRESH_EVERY_S = 60.0
MAX_PAGES = 50
Values = dict[str, str]
Read = Callable[[HttpClient, AwsIdentity], Awaitable[Values]]


def read_secret(name: str, *, region: str, endpoint_url: str = "") -> Read:
    """Reads a secret of Secrets Manager by its name or ARN."""

    async def read(http: HttpClient, identity: AwsIdentity) -> Values:
        client = AwsClient(http, identity, service="secretsmanager", region=region, version="1.1")
        url = endpoint_url or f"https://secretsmanager.{region}.amazonaws.com/"
        answer = await client.call(
            url, "secretsmanager.GetSecretValue", {"SecretId": name}, timeout_s=TIMEOUT_S
        )
        return parse_bundle(str(answer.get("SecretString") or ""), f"the secret {name}")

    return read


def read_parameters(path: str, *, region: str, endpoint_url: str = "") -> Read:
    """Reads the parameters under a path of SSM; a secret's name is what follows the path."""
    folder = "/" + path.strip("/") + "/"

    async def read(http: HttpClient, identity: AwsIdentity) -> Values:
        client = AwsClient(http, identity, service="ssm", region=region, version="1.1")
        url = endpoint_url or f"https://ssm.{region}.amazonaws.com/"
        values: Values = {}
        question = {"Path": folder, "WithDecryption": True, "Recursive": False, "MaxResults": 10}
        for _ in range(MAX_PAGES):
            answer = await client.call(
                url, "AmazonSSM.GetParametersByPath", question, timeout_s=TIMEOUT_S
            )
            for parameter in answer.get("Parameters") or ():
                values[parameter["Name"].removeprefix(folder)] = parameter["Value"]
            if not answer.get("NextToken"):
                return values
            question["NextToken"] = answer["NextToken"]
        raise SettingsError(f"there are too many parameters under {folder}")

    return read


class AwsSecrets(Secrets):
    """What AWS keeps, else the environment's. Later readers win over earlier ones."""

    def __init__(self, *readers: Read) -> None:
        super().__init__()
        self._readers = readers
        self._values: Values | None = None
        self._asked_s: float | None = None
        self._asking: asyncio.Task[bool] | None = None

    def find(self, name: str) -> str | None:
        """The first look waits for AWS; DependencyError or SettingsError when it fails."""
        if self._values is None:
            # A look comes from code that cannot wait, on a loop that runs already.
            with ThreadPoolExecutor(1) as pool:
                self._values = pool.submit(asyncio.run, self._read()).result()
        return self._values.get(name) or super().find(name)

    async def refresh(self) -> bool:
        if self._asking is None:
            now_s = clock.monotonic_s()
            if self._asked_s is not None and now_s - self._asked_s < REFRESH_EVERY_S:
                return False
            self._asked_s = now_s
            self._asking = asyncio.create_task(self._renew())
        return await asyncio.shield(self._asking)

    async def _renew(self) -> bool:
        try:
            values = await self._read()
        except (DependencyError, SettingsError) as error:
            log.error("secrets_not_read", detail=str(error))
            return False
        finally:
            self._asking = None
        changed, self._values = values != self._values, values
        log.info("secrets_read", changed=changed)
        return changed

    async def _read(self) -> Values:
        http = HttpClient()
        identity = AwsIdentity(http, super().find)
        values: Values = {}
        try:
            for read in self._readers:
                values |= await read(http, identity)
        finally:
            await http.aclose()
        return values
