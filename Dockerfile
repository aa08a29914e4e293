# emsd in two stages: a wheel and its pinned dependencies are installed in the first, the second only takes the result.

FROM python:3.13-slim AS build
WORKDIR /build
# Pins what is installed, and hatchling, which builds the wheel.
ENV PIP_CONSTRAINT=/build/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
COPY collectors ./collectors
COPY simulator ./simulator
COPY migrations ./migrations
COPY dashboards ./dashboards
RUN python -m venv /opt/emsd \
    && python -m pip wheel --no-deps --wheel-dir /build/wheels . \
    && /opt/emsd/bin/python -m pip install "$(ls /build/wheels/emsd-*.whl)[export,physics]"

FROM python:3.13-slim AS runtime
RUN groupadd --system --gid 10001 emsd \
    && useradd --system --uid 10001 --gid emsd --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin emsd \
    && install --directory --owner=emsd --group=emsd --mode=0700 /var/lib/emsd
COPY --from=build /opt/emsd /opt/emsd
ENV PATH=/opt/emsd/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 EMSD_LOG_FORMAT=json \
    EMSD_SPOOL_FOLDER=/var/lib/emsd/spool
WORKDIR /etc/emsd
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f\"http://127.0.0.1:{os.environ.get('EMSD_API_PORT', '8000')}/healthz\", timeout=4)"]
ENTRYPOINT ["emsd"]
CMD ["run"]
