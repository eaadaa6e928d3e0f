"""The reporting Parquet in an object store: uploads what has changed. Plain Python over fsspec, without Airflow."""
