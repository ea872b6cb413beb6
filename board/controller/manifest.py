"""What a chip's build freezes (MicroPython's `make FROZEN_MANIFEST=... CFLAGS+=-DMICROPY_VFS_ROM=1`): the boot part,
which is never replaced over the line. `FIXED`: the folder with the module `fixed` of the board (`board/firmware.py`).
The firmware itself goes into slot a, at the start of the chip's storage; a chip without it waits for a flasher."""
# ruff: noqa: F821

module("cbor2.py", base_path="compat")
module("fixed.py", base_path="$(FIXED)")
module("boot.py")
package(
    "board",
    (
        "__init__.py",
        "controller/__init__.py",
        "controller/home_rp2.py",
        "controller/receive.py",
        "controller/slip.py",
        "controller/slots.py",
        "controller/start_rp2.py",
    ),
    base_path="../..",
)
