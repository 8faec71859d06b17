#!/bin/sh
cd "$(dirname "$0")" || exit 1
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}${LAYER_ROOT:-/opt}/python${LAMBDA_RUNTIME_DIR:+:$LAMBDA_RUNTIME_DIR}"
exec python3 -m uvicorn app:app --host 127.0.0.1 --port "${PORT:-${AWS_LWA_PORT:-8080}}" --loop uvloop --http gatewayz.net.server:Http --ws none --no-access-log --no-server-header --no-proxy-headers --lifespan off --timeout-graceful-shutdown 20
