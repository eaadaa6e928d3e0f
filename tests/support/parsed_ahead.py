"""Imported by the fork server alone (dbt_process): its forks need not build what dbt builds of its own classes.

Not named dbt_..., since dbt takes every module of such a name for a plugin, and imports it.
"""

from include.dbt_ahead import parse_project

parse_project()
