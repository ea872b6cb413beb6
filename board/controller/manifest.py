"""What a chip's build freezes (MicroPython's `make FROZEN_MANIFEST=...`). `PINS`: the folder with the module `pins`."""
# ruff: noqa: F821

require("cbor2")  # micropython-lib's, at the commit that the MicroPython release names
module("pins.py", base_path="$(PINS)")
module("boot.py")
package(
    "board",
    (
        "__init__.py",
        "controller/__init__.py",
        "controller/contract.py",
        "controller/link.py",
        "controller/main.py",
        "controller/port_rp2.py",
        "controller/app/__init__.py",
        "controller/app/controller.py",
        "controller/app/firmware.py",
        "controller/app/interlock.py",
        "controller/app/levels.py",
        "controller/app/light.py",
        "controller/app/memory.py",
        "controller/app/pilot.py",
        "controller/app/port.py",
        "controller/app/proximity.py",
        "controller/app/register.py",
    ),
    base_path="../..",
)
