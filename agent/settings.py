"""What can be set, by whom, within which bounds; and where each value came from.

Layers, weakest first: defaults < board < config file < wizard < cloud. The table below is the only list of settings;
the core sees the merged, frozen `Settings` and nothing else.
"""

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The merged values. Names follow OCPP 2.1 variables where there is one; units last."""

    station_id: str = "UNPROVISIONED"
    # electrical: only ever lowered from the cloud
    circuit_limit_ma: int = 32_000  # per phase, over all ports together
    port_limit_ma: int = 32_000  # board and power select, one port
    phases: int = 1
    ventilated: bool = False
    socketed: bool = False
    derate_from_dc: int = 650  # tenths of a degree C: from here on the offer falls
    derate_stop_dc: int = 800  # from here on nothing is offered
    # who may charge
    activated: bool = True
    free: bool = False  # everybody, without a card
    offline_tx_for_unknown_id: bool = False  # OCPP OfflineTxForUnknownIdEnabled
    master_pass_group_id: str = ""  # OCPP MasterPassGroupId
    concurrent_tx: bool = False  # one card, two ports at once
    stop_tx_on_invalid_id: bool = True  # OCPP StopTxOnInvalidId
    max_energy_on_invalid_id_wh: int = 0  # OCPP MaxEnergyOnInvalidId
    support_number: str = ""
    owner: str = ""
    # times
    ev_connection_timeout_s: float = 60.0  # OCPP EVConnectionTimeOut
    tx_resumption_timeout_s: float = 600.0  # OCPP TxResumptionTimeout
    tx_updated_interval_s: float = 60.0  # OCPP SampledDataTxUpdatedInterval
    aligned_interval_s: float = 900.0  # OCPP AlignedDataInterval; 0 = off
    restart_delay_max_s: float = 30.0  # after a power cut each port waits a random part of this
    host_grace_s: int = 60  # controller: host silent this long -> orderly stop
    failsafe_ma: int = 6_000  # controller: host silent 3 s -> at most this
