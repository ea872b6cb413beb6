"""The live view."""

from collections.abc import Callable

from tools.cloud.ledger import Ledger


def run_view(ledger: Ledger, clock_ms: Callable[[], int]) -> int:
    raise NotImplementedError
