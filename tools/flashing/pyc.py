"""Compiles Python sources to .pyc files: a process of its own, so that the same sources give the same bytes.

`python3.11 -I -S pyc.py`: a marshalled list of (name, source) in, of .pyc contents out. Nothing in them depends on
their order, on the hash seed or on what else the process has seen: since 3.11 marshal sorts sets, and marks every
interned name.
"""

import marshal
import sys
from importlib.util import MAGIC_NUMBER, source_hash

UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: never compared with a source; there is none


def compiled(name: str, source: bytes) -> bytes:
    """`name` is what a traceback says. Assertions stay on."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    return MAGIC_NUMBER + UNCHECKED_HASH + source_hash(source) + marshal.dumps(code)


if __name__ == "__main__":
    asked = marshal.load(sys.stdin.buffer)
    marshal.dump([compiled(name, source) for name, source in asked], sys.stdout.buffer)
