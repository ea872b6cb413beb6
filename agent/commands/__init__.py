"""Commands from the cloud, in the core: one event in, one CommandResult out, at once or by a deadline. Pure.

charging    RequestStartTransaction, RequestStopTransaction, ChangeAvailability
station     Reset, UnlockConnector, TriggerMessage, LiveMode, SetNetworkProfile
firmware    UpdateFirmware
variables   GetVariables, SetVariables, GetBaseReport, GetReport over one table

Signature, addressee, expiry and repetition are judged before (agent/uplink/commands.py).
"""
