"""Run the stand-in: `python -m tests.fakes.stripe PORT [WEBHOOK_URL SECRET]`."""

import sys
import time

import uvicorn

from tests.fakes.stripe.app import FakeStripe
from tests.fakes.stripe.deliveries import Endpoint

port = int(sys.argv[1]) if len(sys.argv) > 1 else 12111
fake = FakeStripe(url=f"http://127.0.0.1:{port}", now_s=int(time.time()))
if len(sys.argv) > 3:
    fake.deliveries.endpoints.append(Endpoint(sys.argv[2], sys.argv[3]))
uvicorn.run(fake.app, host="127.0.0.1", port=port, log_level="warning")
