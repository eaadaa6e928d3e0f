"""Run by Swift's own Python: writes the rings of a Swift with one device. rings.py FOLDER ACCOUNT CONTAINER OBJECT."""

from __future__ import annotations

import sys
from pathlib import Path

from swift.common.ring import RingBuilder

# One device needs no more than one partition.
POWER, REPLICAS, HOURS = 0, 1, 0


def main(folder: str, *ports: str) -> None:
    for name, port in zip(("account", "container", "object"), ports, strict=True):
        builder = RingBuilder(POWER, REPLICAS, HOURS)
        where = {"ip": "127.0.0.1", "port": int(port), "device": "sda"}
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, **where})
        builder.rebalance()
        builder.get_ring().save(str(Path(folder, f"{name}.ring.gz")))


main(*sys.argv[1:])
