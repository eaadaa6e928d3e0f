"""Airflow on one machine, all of it inside the project's folder: what `make run` and `make up` start."""
