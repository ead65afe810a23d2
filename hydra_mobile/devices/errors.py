"""What goes wrong with a device, each kind its own error, so that callers can act on it."""

from __future__ import annotations

from typing import ClassVar

from hydra_mobile.core.errors import HydraError, Kind


class DeviceError(HydraError):
    """A device cannot be reached, or cannot do what it should."""

    default_kind: ClassVar[Kind] = "device"


class NoDevice(DeviceError):
    """No device is connected, or none that may be used."""


class SeveralDevices(DeviceError):
    """More than one device is connected and none was named."""


class DeviceGone(DeviceError):
    """The connection broke: unplugged, offline, or its daemon ended. Trying again may help."""


class DeviceFull(DeviceError):
    """The device has no room for what has to be written."""

    default_kind: ClassVar[Kind] = "disk"


class RunnerMissing(DeviceError):
    """The device cannot find or start the program that it should run."""


class WrongAbi(DeviceError):
    """The program or the bundle is for another kind of processor."""


class OutOfMemory(DeviceError):
    """The device killed the program, or the program could not get memory."""

    default_kind: ClassVar[Kind] = "memory"
