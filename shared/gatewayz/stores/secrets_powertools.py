"""Secrets that AWS keeps, read by Powertools' Parameters: for the control plane and the workers.

The same readers as in `secrets_aws.py`, which the data plane uses: it cannot afford boto3. Their
cache is AwsSecrets' own, which knows when a refused credential is worth another look.
"""

import asyncio
from typing import Any

import boto3  # type: ignore[import-untyped]
from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.config import Config  # type: ignore[import-untyped]

from gatewayz.core.errors import StoreUnavailable
from gatewayz.net.http import HttpClient
from gatewayz.stores.aws import AwsIdentity
from gatewayz.stores.secrets import parse_bundle
from gatewayz.stores.secrets_aws import TIMEOUT_S, Read, Values

CONFIG = Config(
    connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 2}
)


def read_secret(name: str, *, region: str, endpoint_url: str = "") -> Read:
    """Reads a secret of Secrets Manager by its name or ARN."""

    async def read(http: HttpClient, identity: AwsIdentity) -> Values:
        client = _client("secretsmanager", region, endpoint_url)
        try:
            text = await asyncio.to_thread(
                SecretsProvider(boto3_client=client).get, name, force_fetch=True
            )
        except GetParameterError as error:
            raise StoreUnavailable("Secrets Manager does not give the secret.") from error
        finally:
            client.close()
        return parse_bundle(str(text or ""), f"the secret {name}")

    return read


def read_parameters(path: str, *, region: str, endpoint_url: str = "") -> Read:
    """Reads the parameters under a path of SSM; a secret's name is what follows the path."""
    folder = "/" + path.strip("/") + "/"

    async def read(http: HttpClient, identity: AwsIdentity) -> Values:
        client = _client("ssm", region, endpoint_url)
        provider = SSMProvider(boto3_client=client)
        try:
            found = await asyncio.to_thread(
                provider.get_multiple, folder, force_fetch=True, decrypt=True, recursive=False
            )
        except GetParameterError as error:
            raise StoreUnavailable("SSM does not give the parameters.") from error
        finally:
            client.close()
        return {name: str(value) for name, value in (found or {}).items()}

    return read


def _client(service: str, region: str, endpoint_url: str) -> Any:
    return boto3.client(
        service, region_name=region, endpoint_url=endpoint_url or None, config=CONFIG
    )
