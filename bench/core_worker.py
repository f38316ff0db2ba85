"""Serves slices of `ardock._core.launch` to the harness: a JSON object a line in, one a line out."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from ardock import _core
from bench.direct import DirectLauncher
from bench.measure import Slice
from bench.systems import Place


def main() -> None:
    """Serve until standard input ends."""
    place = Place.from_json(json.loads(sys.argv[1]))
    try:
        with DirectLauncher(place) as launcher:
            for line in sys.stdin:
                began = time.perf_counter()
                latencies = [launcher.run() for _ in range(json.loads(line)["n"])]
                print(json.dumps(asdict(Slice.of(time.perf_counter() - began, latencies))), flush=True)
    except (_core.HostError, RuntimeError) as error:
        print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main()
