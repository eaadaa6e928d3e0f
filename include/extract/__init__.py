"""Takes a snapshot of all live Twitch streams and commits it to raw Parquet. Plain Python, without Airflow."""

import os

# dlt reads these from the environment when it is first used.
os.environ.update(
    # Wherever Airflow is installed, dlt imports it to look for secrets: 4.5 s, 90 MB, a database in the home.
    PROVIDERS__ENABLE_AIRFLOW_SECRETS="false",
    RUNTIME__DLTHUB_TELEMETRY="false",
    # What dlt would log, take_snapshot raises as one ExtractError; its retries are logged here.
    RUNTIME__LOG_LEVEL="CRITICAL",
    # A third smaller than snappy, for the same time. dlt passes no level on, so Arrow's own applies: 1, which is
    # also the best bargain (level 3 saves 3 % of the size for a quarter more time).
    DATA_WRITER__COMPRESSION="zstd",
)
