# The pipeline on Airflow's official image: what runs in production is what requirements.txt pins, and nothing else.
FROM apache/airflow:slim-3.3.2-python3.12

# The image's own environment is left alone; this one holds the pinned packages, and goes first.
ENV VIRTUAL_ENV=/home/airflow/twitch-bi
ENV PATH="${VIRTUAL_ENV}/bin:${PATH}"
# /opt/airflow, Airflow's home in the image, is this project's folder: airflow.cfg, dags/ and plugins/ lie where Airflow
# looks for them.
WORKDIR /opt/airflow

COPY --chown=airflow:0 requirements.txt ./
RUN python -m venv "${VIRTUAL_ENV}" \
    && pip install --no-cache-dir --require-hashes --no-deps -r requirements.txt

# One cloud's object storage, for whoever publishes to it: docker compose build with CLOUD=azure, gcs or s3 in .env.
ARG CLOUD=
COPY --chown=airflow:0 requirements-azure.txt requirements-gcs.txt requirements-s3.txt ./
RUN if [ -n "${CLOUD:-}" ]; then pip install --no-cache-dir --require-hashes --no-deps -r "requirements-${CLOUD}.txt"; fi

COPY --chown=airflow:0 pyproject.toml README.md LICENSE airflow.cfg ./
COPY --chown=airflow:0 include include
COPY --chown=airflow:0 dags dags
COPY --chown=airflow:0 plugins plugins
COPY --chown=airflow:0 --chmod=755 docker docker

# Reports to nobody; what Cosmos keeps between runs is in the mounted folder of the logs.
ENV DATA_DIR=/opt/airflow/data \
    AIRFLOW__COSMOS__CACHE_DIR=/opt/airflow/logs/.cosmos \
    DO_NOT_TRACK=1 \
    DBT_SEND_ANONYMOUS_USAGE_STATS=False \
    PYTHONUNBUFFERED=1
# Files keep the modes of the clone, which may be its owner's alone; the container's user shares group 0 with them.
# dbt docs need a database to describe: an empty one, made for the build alone.
RUN chmod -R g=u airflow.cfg dags include plugins pyproject.toml \
    && pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && mkdir -p data logs \
    && docker/build-dbt

ENTRYPOINT ["/usr/bin/dumb-init", "--", "/opt/airflow/docker/entrypoint"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m --retries=5 CMD ["/opt/airflow/docker/healthy"]
CMD ["airflow", "version"]
