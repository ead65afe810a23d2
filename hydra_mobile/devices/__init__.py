"""Devices by name: one file for each. Reached over adb, emulated, or this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import nearest, resolve

if TYPE_CHECKING:
    from hydra_mobile.devices.device import Device

DEVICES = {
    "host": "hydra_mobile.devices.host:HostDevice",
    "native": "hydra_mobile.devices.host:NativeDevice",
    "emulator": "hydra_mobile.devices.emulator:EmulatorDevice",
    "adb": "hydra_mobile.devices.phone:AdbDevice",
    "app": "hydra_mobile.devices.app:AppDevice",
}


def device_class(name: str) -> type[Device]:
    """Return the device registered under `name`."""
    return cast("type[Device]", resolve("device", name, DEVICES))


def device_named(option: str) -> Device:
    """Return the device that `--device NAME[:SERIAL]` names.

    Raises:
        HydraError: there is no such device, or it takes no serial.
    """
    name, _, serial = option.partition(":")
    if name not in DEVICES:
        valid = [device_class(each).usage() for each in DEVICES]
        raise HydraError(f"--device is `{option}`.", nearest(option, valid))
    return device_class(name)(serial)
