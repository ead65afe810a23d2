"""What goes wrong with a device, each kind its own error, so that callers can act on it."""

from __future__ import annotations

from hydra_mobile.core.errors import HydraError


class NoDevice(HydraError):
    """No device is connected, or none that may be used."""


class SeveralDevices(HydraError):
    """More than one device is connected and none was named."""


class DeviceGone(HydraError):
    """The connection broke: unplugged, offline, or its daemon ended. Trying again may help."""


class DeviceFull(HydraError):
    """The device has no room for what has to be written."""


class RunnerMissing(HydraError):
    """The device cannot find or start the program that it should run."""


class WrongAbi(HydraError):
    """The program or the bundle is for another kind of processor."""


class OutOfMemory(HydraError):
    """The device killed the program, or the program could not get memory."""
