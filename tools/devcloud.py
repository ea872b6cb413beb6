"""The reference cloud: `python tools/devcloud.py --help`. Its parts are in tools/cloud/.

Written from docs/uplink.md, the word table and the OCPP schemas only; it shares no line of code with the station, so
that each is the other's first stranger.
"""

import sys
from pathlib import Path

if not __package__:                     # run as a script: its parts are found from the folder above
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.cloud.cli import main
from tools.cloud.drivers import Driver
from tools.cloud.ledger import Ledger
from tools.cloud.pki import ca_init, ca_station
from tools.cloud.service import clock_ms

__all__ = ["Driver", "Ledger", "ca_init", "ca_station", "clock_ms", "main"]

if __name__ == "__main__":
    sys.exit(main())
