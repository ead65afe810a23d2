from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices import adb
from hydra_mobile.devices.device import misfits
from hydra_mobile.devices.facts import DeviceFacts
from hydra_mobile.devices.listing import places

PHONE = DeviceFacts(
    "S", abis=("arm64-v8a",), android="15", api_level=35, available_bytes=4_000_000_000
)


@pytest.fixture(scope="module")
def opened(fp32_bundle: Path) -> Bundle:
    return Bundle.open(fp32_bundle)


def test_a_bundle_that_fits(opened: Bundle) -> None:
    found, needed = misfits(opened, PHONE)
    assert found == ()
    # The app around it counts on Android, and on nothing else.
    assert needed > misfits(opened, dataclasses.replace(PHONE, android=None))[1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"abis": ("armeabi-v7a",)}, "runs on arm64-v8a, x86_64; the device is armeabi-v7a"),
        ({"api_level": 24}, "needs Android API 26; the device has 24"),
        ({"available_bytes": 1_000_000}, "1 MB are available"),
    ],
)
def test_what_does_not_fit_says_why(opened: Bundle, changes: dict[str, object], told: str) -> None:
    (reason,), _ = misfits(opened, dataclasses.replace(PHONE, **changes))
    assert told in reason


def test_without_adb_the_rest_is_listed(opened: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb, "devices", lambda: {"S": "unauthorized"})
    listed = places(opened)
    assert [place.option for place in listed] == ["native", "emulator", "adb:S"]
    assert listed[0].misfits is not None
    assert listed[-1].state == "unauthorized"
