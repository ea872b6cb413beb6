"""What each package of the device costs: python -m bench.imports

Every row is a fresh interpreter, the median of nine: CPU time of the import, and resident memory it adds. The last row
imports them all at once; packages share parts, so it is less than the sum.
"""

import json
import subprocess
import sys
from statistics import median

# As the agent uses them, not `import package`, which for some of them loads nothing.
USED = {
    "(python itself)": "",
    "standard library": "import asyncio, sqlite3, ssl, logging, selectors, hashlib, datetime, tomllib",
    "cbor2": "import cbor2",
    "cryptography": "from cryptography import x509; from cryptography.hazmat.primitives.asymmetric import ec, ed25519",
    "gpiod": "import gpiod",
    "msgspec": "import msgspec",
    "paho-mqtt": "import paho.mqtt.client",
    "pymodbus": "from pymodbus.client import ModbusSerialClient",
    "pyscard": "from smartcard import scard",
    "pyserial": "import serial",
    "starlette + uvicorn": "import starlette.responses, starlette.routing, uvicorn",
    "tzdata": "import zoneinfo; zoneinfo.ZoneInfo('Europe/Amsterdam')",
}
PROBE = """
import json, time
def resident_kb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
memory, cpu = resident_kb(), time.process_time()
try:
    {code}
    print(json.dumps([1000 * (time.process_time() - cpu), (resident_kb() - memory) / 1024, resident_kb() / 1024]))
except ImportError:
    print("null")
"""


def cost(code: str, runs: int = 9) -> list[float] | None:
    """CPU ms, MB added, MB in all; None if it is not installed."""
    probe = [sys.executable, "-c", PROBE.format(code=code or "pass")]
    answers = [json.loads(subprocess.run(probe, capture_output=True, check=True).stdout) for _ in range(runs)]
    return None if None in answers else [median(column) for column in zip(*answers, strict=True)]


def main() -> None:
    costs = {name: cost(code) for name, code in USED.items()}
    costs["all of them"] = cost("; ".join(code for name, code in USED.items() if code and costs[name]))
    print(f"| {'package':20} | CPU ms | adds MB | in all MB |\n|{'-' * 22}|-------:|--------:|----------:|")
    for name, measured in costs.items():
        cells = "not installed" if measured is None else "{:6.0f} | {:7.1f} | {:9.1f} |".format(*measured)
        print(f"| {name:20} | {cells}")


if __name__ == "__main__":
    main()
