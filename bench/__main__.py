"""`python -m bench`: measure everything and write bench/results.json. Named groups are measured and shown only.

    python -m bench --profile station_day    where its CPU time goes
    python -m bench --full drain             100,000 records in real time, not a tenth of them
    python -m bench --full recovery          beside ModemManager, in real time
"""

import argparse
import cProfile
import json
import pstats
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench import (
    disk,
    flash,
    launcher,
    lists,
    live,
    modem,
    panel,
    parts,
    pins,
    policy,
    recovery,
    tariff,
    uplink,
    wire,
    world,
)
from bench.figure import Figure, Figures, calibration_ms, machine

RESULTS = Path(__file__).parent / "results.json"
TOP = 30  # lines of a profile

IN_PROCESS: dict[str, Callable[[], Figures]] = {
    "core_tap": parts.core_tap,
    "record_codec": parts.record_codec,
    "tariff": tariff.measured,
    "policy": policy.policy,
    "commit": parts.commit,
    "modem": modem.modem,
    "enqueue": disk.enqueue,
    "station_day": world.station_day,
}
GROUPS: dict[str, Callable[[], Figures]] = {
    "live": live.live,
    "panel": panel.panel,
    "lists": lists.lists,
    "pins": pins.pins,
    "flash": flash.flash,
    **IN_PROCESS,
    "imports": parts.import_time,
    "launcher": launcher.launcher,
    "month": world.month,
    "wire": wire.wire,
    "drain": uplink.drain,
    "black_hole": uplink.black_hole,
    "start": disk.start,
    "wear": disk.wear,
    "outbox_month": disk.outbox_month,
}


FULL: dict[str, Callable[[], Figures]] = {
    "drain": uplink.drain_full, "lists": lists.lists_full, "recovery": recovery.recovery,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.profile:
        return profile(IN_PROCESS[args.profile])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        results: dict[str, Any] = {"machine": machine(Path(folder))}
    calibrations = [results["machine"]["calibration_ms"]]
    groups = GROUPS | FULL if args.full else GROUPS
    for name in args.groups or GROUPS:
        for figure_name, figure in groups[name]().items():
            results[figure_name] = asdict(figure)
            print(row(figure_name, figure), flush=True)
        calibrations.append(round(calibration_ms(), 1))
    results["machine"].update(calibration_ms=round(median(calibrations), 1), calibration_spread_ms=spread(calibrations))
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()))
    if out := args.out or (None if args.groups else RESULTS):
        out.write_text(lines(results))
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("bench", description="Measure the agent.")
    made.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; without any, all of them")
    made.add_argument("--out", type=Path, metavar="FILE", help="write the results there")
    made.add_argument("--full", action="store_true", help=f"full size, instead of a part of it: {', '.join(FULL)}")
    made.add_argument("--profile", choices=IN_PROCESS, help="show where CPU time goes, instead of measuring")
    return made


def spread(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def row(name: str, figure: Figure) -> str:
    target = "" if figure.target is None else f"<= {figure.target:g}"
    verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
    value = "-" if figure.value is None else f"{figure.value:g}"
    return f"{name:26}{value:>9} {figure.unit:6}{target:9}{verdict:8}{figure.note}"


def lines(results: dict[str, Any]) -> str:
    """JSON with one line for each figure, so that a difference can be read."""
    return "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(of)}" for name, of in results.items()) + "\n}\n"


def profile(group: Callable[[], Figures]) -> int:
    profiler = cProfile.Profile()
    profiler.runcall(group)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(TOP)
    return 0


if __name__ == "__main__":
    sys.exit(main())
