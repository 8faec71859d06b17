from collections.abc import AsyncIterator

import pytest

from gatewayz.core.settings import Settings
from gatewayz.stores.open import Stores, open_stores


@pytest.fixture
async def stores(settings: Settings) -> AsyncIterator[Stores]:
    opened = open_stores(settings)
    yield opened
    await opened.close()
