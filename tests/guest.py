"""Inside a machine of tests/qemu.py: the end of the talk with the host that a story has."""

import asyncio
import json
import sys
from typing import Any


def tell(**facts: Any) -> None:
    print(f"\nRIG {json.dumps(facts)}", flush=True)


class Talk:
    def __init__(self) -> None:
        self.answers: asyncio.Queue[str] = asyncio.Queue()
        stdin = sys.stdin
        asyncio.get_running_loop().add_reader(stdin, lambda: self.answers.put_nowait(stdin.readline()))

    def put(self, word: str) -> None:
        """The question; its answer will be in `answers`."""
        print(f"\nRIG ask {word}", flush=True)

    async def ask(self, word: str) -> Any:
        self.put(word)
        return json.loads(await self.answers.get())
