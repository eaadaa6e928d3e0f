"""Tests of what a running `make up` shows: all files here share one of it, and one browser (conftest.py)."""
