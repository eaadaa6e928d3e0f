"""dbt's command line, which also notes the CPU seconds of its models, as JSON.

python tests/bench/dbt_cpu.py RESULT build ...

The time of a model in dbt's run_results.json is by the clock, which other work on the machine slows down. dbt has one
thread, so what its process uses between a model's start and end is the model's, DuckDB's threads included.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from dbt.cli.main import dbtRunner
from dbt_common.events.base_types import EventMsg

SIGNS = {"NodeStart": -1, "NodeFinished": 1}


def main() -> int:
    result, *arguments = sys.argv[1:]
    seconds = 0.0

    def note(event: EventMsg) -> None:
        nonlocal seconds
        sign = SIGNS.get(event.info.name)
        if sign and event.data.node_info.resource_type == "model":
            seconds += sign * time.process_time()

    done = dbtRunner(callbacks=[note]).invoke(arguments)
    if done.exception:
        print(done.exception, file=sys.stderr)  # noqa: T201
    Path(result).write_text(json.dumps(seconds))
    return 0 if done.success else 1


if __name__ == "__main__":
    sys.exit(main())
