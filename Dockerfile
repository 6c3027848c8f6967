FROM python:3.12.13-slim-trixie AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/agent-storage
COPY requirements.lock ./
RUN pip --python /opt/agent-storage/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE containers.py ./
COPY app app
# The build has no git history to take the version from. Without this argument, it is the fallback in pyproject.toml.
ARG VERSION=
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_AGENT_STORAGE=$VERSION \
    pip --python /opt/agent-storage/bin/python install --no-cache-dir --no-deps --no-build-isolation . \
    # Only the build needs these.
    && pip --python /opt/agent-storage/bin/python uninstall --yes setuptools setuptools-scm vcs-versioning \
    # Checked against no source file's time, which another layer may not keep; the file system is read-only later.
    && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/agent-storage/lib

FROM python:3.12.13-slim-trixie
# tini is the first process: it passes SIGTERM on from the first moment and reaps orphaned processes.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 agent-storage \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin agent-storage \
    && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /opt/agent-storage /opt/agent-storage
ENV PATH=/opt/agent-storage/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATABASE_URL=sqlite:////data/agent-storage.db \
    QDRANT_PATH=/data/qdrant
WORKDIR /data
VOLUME /data
# By number, so that an orchestrator can see that it isn't root.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Without a proxy, whatever the environment says of one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from os import environ; from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:' + environ.get('API_PORT', '8000') + '/health/live', timeout=3)"]
ENTRYPOINT ["tini", "--", "agent-storage"]
CMD ["serve", "--host", "0.0.0.0"]
