"""Commands from the cloud, in the core: one event in, one CommandResult out, at once or by a deadline. Pure.

charging    RequestStartTransaction, RequestStopTransaction, ChangeAvailability
station     Reset, UnlockConnector, TriggerMessage, LiveMode, SetNetworkProfile
firmware    UpdateFirmware
variables   GetVariables, SetVariables, GetBaseReport, GetReport over one table
profiles    SetChargingProfile and what belongs to it
tariffs     SetDefaultTariff and what belongs to it
owner       ReserveNow, display messages, and our own: AccessPolicy, PlanToken, Activation, Transfer
logs        GetLog
answers     what several of them answer with

Signature, addressee, expiry and repetition are judged before (agent/uplink/commands.py).
"""
