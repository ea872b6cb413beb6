"""One process at a time has a station's hardware: the running agent, or a person with `station-agent board try`.

A lock of the kernel's on the state folder: no file is made, and it ends with its process, however that ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.settings import ConfigError


@contextmanager
def exclusive(state: Path, refusal: str) -> Iterator[None]:
    """ConfigError with `refusal` if another process has it. A folder that is not there is nobody's."""
    try:
        fd = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise ConfigError(f"{state} cannot be opened ({error.strerror}): type sudo before the command") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(refusal) from None
        yield
    finally:
        os.close(fd)
