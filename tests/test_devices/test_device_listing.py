from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices import adb, native_build
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


@pytest.mark.parametrize("machine", [native_build.X86_64, native_build.ARM64])
def test_a_runner_that_is_not_built_says_what_it_takes(
    machine: native_build.Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))
    monkeypatch.setattr(native_build, "installed_executorch", lambda: tmp_path)
    monkeypatch.setattr(native_build, "host", lambda: native_build.X86_64)
    lacking: list[str] = ["nlohmann-json3-dev"]
    monkeypatch.setattr(native_build, "missing_packages", lambda _: lacking)
    assert native_build.build_state(machine) == "needs: nlohmann-json3-dev"
    lacking.clear()
    assert native_build.build_state(machine) == "not built yet"
    assert not list(tmp_path.rglob("*runner*"))


def test_a_machine_without_a_runner_is_listed_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr(adb, "devices", dict)
    native = places(None)[0]
    assert (native.option, native.state.partition(":")[0]) == ("native", "needs")
