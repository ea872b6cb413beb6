"""python tools/flash.py COMMAND: makes builds, signs them, and brings them onto stations. docs/flashing.md"""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))  # a checkout need not be installed

from tools.flashing.cli import main

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: stations are told goodbye
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
