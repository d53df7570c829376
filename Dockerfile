# syntax=docker/dockerfile:1
# The service on CPU: no torch, no compiler, not root, and the root file system may be read-only.
#
#   docker build -t vertebral-acuity .
#   docker run --read-only --tmpfs /tmp -v acuity:/var/lib/acuity -p 8000:8000 \
#     -e ACUITY_API_KEYS='["a-long-random-key"]' vertebral-acuity

FROM python:3.11-slim-bookworm AS build
# A mirror of PyPI, where the build machine needs one.
ARG PIP_INDEX_URL=https://pypi.org/simple
ENV PIP_INDEX_URL=${PIP_INDEX_URL} \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/acuity
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY service service
RUN /opt/acuity/bin/pip install .

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 acuity \
    && useradd --uid 10001 --gid acuity --no-create-home --home-dir /nonexistent \
       --shell /usr/sbin/nologin acuity \
    && install -d -o acuity -g acuity -m 0750 /var/lib/acuity
COPY --from=build /opt/acuity /opt/acuity
ENV PATH=/opt/acuity/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ACUITY_HOST=0.0.0.0 \
    ACUITY_WORK_DIR=/var/lib/acuity \
    ACUITY_LOG_FORMAT=json
USER 10001:10001
VOLUME ["/var/lib/acuity"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["acuity"]
CMD ["serve"]
