"""What a device says of itself: model, processor, Android, memory, heat.

Every fact is None where the device does not tell: a board with Linux has no battery, an old Android
no thermal service.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from hydra_mobile.devices.remote import Remote

#: Android's thermal status by number; from 2 ("moderate") on clocks are held back.
THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

# One command: each costs a round trip. Absent programs say nothing.
_SECTIONS = {
    "props": "getprop",
    "machine": "uname -m; uname -s; uname -r",
    "memory": "cat /proc/meminfo",
    "battery": "dumpsys battery",
    "thermal": "dumpsys thermalservice",
    "governor": "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    "frequencies": "cat /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq",
    "cores": "grep -c ^processor /proc/cpuinfo",
}
_MACHINES = {"aarch64": "arm64-v8a", "armv8l": "arm64-v8a", "x86_64": "x86_64", "i686": "x86"}


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of a device.

    Attributes:
        serial: what names it.
        model: for example "Pixel 8".
        soc: manufacturer and model of the processor.
        abis: what it runs, the preferred one first, in Android's names.
        android: version, for example "15"; None on plain Linux.
        api_level: of Android.
        system: kernel and release.
        memory_bytes: all memory.
        available_bytes: what could be taken now.
        cores: CPU cores that are on.
        max_frequency_hz: of each core.
        governors: of the cores, without repeats.
        battery_celsius: temperature of the battery.
        battery_percent: its charge.
        thermal_status: one of `THERMAL`.
    """

    serial: str
    model: str | None = None
    soc: str | None = None
    abis: tuple[str, ...] = ()
    android: str | None = None
    api_level: int | None = None
    system: str | None = None
    memory_bytes: int | None = None
    available_bytes: int | None = None
    cores: int | None = None
    max_frequency_hz: tuple[int, ...] = ()
    governors: tuple[str, ...] = ()
    battery_celsius: float | None = None
    battery_percent: int | None = None
    thermal_status: str | None = None

    @property
    def title(self) -> str:
        """A short name for tables."""
        version = f"Android {self.android}" if self.android else self.system or ""
        return ", ".join(part for part in (self.model or self.serial, version) if part)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def facts_of(remote: Remote) -> DeviceFacts:
    """Ask a device.

    Raises:
        DeviceGone: the connection broke.
    """
    command = "; ".join(f"echo '=={name}=='; {c} 2>/dev/null" for name, c in _SECTIONS.items())
    return parse(remote.serial, remote.shell(command).output)


def parse(serial: str, text: str) -> DeviceFacts:
    """Read what the command of `facts_of` printed."""
    parts = re.split(r"^==(\w+)==$", text.replace("\r", ""), flags=re.MULTILINE)
    said = {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    props = dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", said.get("props", ""), re.MULTILINE))
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", said.get("memory", ""), re.MULTILINE))
    machine = said.get("machine", "").splitlines()
    abis = tuple(filter(None, props.get("ro.product.cpu.abilist", "").split(",")))
    if not abis and machine:
        abis = (_MACHINES.get(machine[0], machine[0]),)
    soc = " ".join(
        filter(None, (props.get("ro.soc.manufacturer"), props.get("ro.soc.model")))
    ) or props.get("ro.board.platform")
    temperature = _number(r"^\s*temperature: (-?\d+)", said.get("battery", ""))
    status = _number(r"Thermal Status: (\d+)", said.get("thermal", ""))
    return DeviceFacts(
        serial=serial,
        model=props.get("ro.product.model") or None,
        soc=soc or None,
        abis=abis,
        android=props.get("ro.build.version.release") or None,
        api_level=_number(r"^(\d+)$", props.get("ro.build.version.sdk", "")),
        system=" ".join(machine[1:3]) or None,
        memory_bytes=_kilobytes(memory, "MemTotal"),
        available_bytes=_kilobytes(memory, "MemAvailable"),
        cores=_number(r"^(\d+)$", said.get("cores", "")),
        max_frequency_hz=tuple(
            1000 * int(n)
            for n in re.findall(r"^\d{1,12}$", said.get("frequencies", ""), re.MULTILINE)
        ),
        governors=tuple(dict.fromkeys(said.get("governor", "").split())),
        # In tenths of a degree.
        battery_celsius=None if temperature is None else temperature / 10,
        battery_percent=_number(r"^\s*level: (\d+)", said.get("battery", "")),
        thermal_status=THERMAL[status] if status is not None and status < len(THERMAL) else None,
    )


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text, re.MULTILINE)
    return int(found.group(1)) if found else None


def _kilobytes(memory: dict[str, str], name: str) -> int | None:
    return 1024 * int(memory[name]) if name in memory else None
