"""The fault table: whole, in the words of the standard, and true of the controller that raises the faults."""

import pytest

from agent.faults import FAULTS, Cure, Fault, Latch
from agent.transaction import StoppedReason
from board.controller import contract
from board.controller.app import port

LATCHES = {port.GONE_TOO: Latch.NONE, port.UNPLUG: Latch.UNPLUG, port.CLEAR: Latch.POWER_CYCLE}
BY_THEMSELVES = {Fault.GROUND_FAULT, Fault.GROUND_FAULT_HALTED, Fault.GROUND_FAULT_SELF_TEST}


@pytest.mark.promise("S1", "S7")
def test_what_the_controller_latches_is_what_the_table_says() -> None:
    for name, rule in zip(contract.FAULTS.split(), port.RULES, strict=True):
        fault = Fault(name)
        if fault not in BY_THEMSELVES:
            assert FAULTS[fault].latch is LATCHES[rule[3]], fault


def test_every_fault_of_the_contract_is_in_the_table_and_only_the_host_adds_to_it() -> None:
    assert [Fault(name) for name in contract.FAULTS.split()] == list(Fault)[: len(contract.FAULTS.split())]
    assert set(Fault) - {Fault(name) for name in contract.FAULTS.split()} == {Fault.CONTROLLER_LOST}


@pytest.mark.promise("S7")
@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_says_what_to_do_and_ends_with_a_reason_of_the_standard(fault: Fault) -> None:
    row = FAULTS[fault]
    assert row.text.endswith(".")
    assert row.fix.endswith(".")
    assert row.stopped_reason in set(StoppedReason)
    assert row.mrec is None or (row.mrec.startswith("CX0") and len(row.mrec) == 5)
    assert row.cure is Cure.END or row.latch is Latch.NONE, "what waits for the fault to go must be able to go on"
