"""All places where bundles run, and whether a bundle fits there."""

from __future__ import annotations

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices import DEVICES, device_class
from hydra_mobile.devices.device import Listed


def places(bundle: Bundle | None) -> list[Listed]:
    """Return every place of every device, with the bundle's fit on each."""
    return [place for name in DEVICES for place in device_class(name)().listed(bundle)]
