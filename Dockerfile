# One recipe for every service, and for the node agent (SERVICE=agent):  docker build --build-arg SERVICE=task -t barograph-task .
#
# BASE is a Debian-based Python image, 3.11 or newer. What else runs from these images:
#   any       schema migrations    python3 -m shared.store      (of BAROGRAPH_STORE_URL)
#   task      a member's launcher  python3 -m services.task.launcher
#   client    tshell
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS packages
ARG SERVICE
RUN test -n "$SERVICE" || { echo "--build-arg SERVICE=client|task|autospec|detector|predictor|healer|agent" >&2; exit 2; }
# Programs that run inside the task service (the local runtime) need TensorFlow there:
# --build-arg REQUIREMENTS=embedded
ARG REQUIREMENTS=${SERVICE}
COPY requirements/${REQUIREMENTS}.txt /tmp/requirements.txt
RUN python3 -m venv /opt/barograph \
 && /opt/barograph/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt
# Services can send spans to a collector (TRACES_URL); the agent, which is on every node, does not.
COPY requirements/traces.txt /tmp/traces.txt
RUN [ "$SERVICE" = agent ] \
 || /opt/barograph/bin/pip install --no-cache-dir --require-hashes -r /tmp/traces.txt

# The agent runs on every node: it gets the part of the healer's code that it needs, and no more.
# Modules are compiled here, as a service's user may not write there and would at every start.
FROM ${BASE} AS code
ARG SERVICE
COPY LICENSE /app/
COPY shared /app/shared
COPY services /tmp/services
RUN mkdir /app/services && cd /tmp/services && cp __init__.py /app/services/ \
 && if [ "$SERVICE" = agent ]; then \
      mkdir /app/services/healer && cd healer \
      && cp -r __init__.py masking.py agent remediations /app/services/healer/; \
    else cp -r "$SERVICE" /app/services/; fi \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app

# The numerical kernels, for processors like this one; on another kind, the service compiles them
# at its start (see shared/compiled.py).
FROM packages AS kernels
ARG SERVICE
COPY --from=code /app /app
RUN if [ -e "/app/services/$SERVICE/compiling.py" ]; then cd /app \
 && NUMBA_CACHE_DIR=/app/kernels /opt/barograph/bin/python3 -m "services.$SERVICE.compiling" \
 && chmod -R a+rX kernels; fi

FROM ${BASE}
ARG SERVICE
LABEL org.opencontainers.image.title="barograph-${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 barograph \
 && useradd --uid 10001 --gid 10001 --create-home --home-dir /var/lib/barograph barograph
COPY --from=packages /opt/barograph /opt/barograph
COPY --from=kernels /app /app
RUN if [ "$SERVICE" = client ]; then \
      printf '#!/bin/sh\nexec python3 -m services.client.tshell "$@"\n' >/usr/local/bin/tshell \
      && chmod 755 /usr/local/bin/tshell; fi
ENV PATH=/opt/barograph/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BAROGRAPH_STATE_DIR=/var/lib/barograph \
    BAROGRAPH_HEALTH_HOST=0.0.0.0 \
    BAROGRAPH_HEALTH_PORT=8080 \
    SERVICE=${SERVICE}
WORKDIR /var/lib/barograph
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD \
  python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/livez', timeout=2)"
# exec: the service itself gets SIGTERM and stops in order.
CMD ["sh", "-c", "[ $SERVICE = agent ] && SERVICE=healer.agent; exec python3 -m services.$SERVICE"]
