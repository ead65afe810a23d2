from __future__ import annotations

from hydra_mobile.devices.describe import described
from hydra_mobile.devices.facts import DeviceFacts, parse
from hydra_mobile.devices.thermal import is_cool

PHONE = """==props==
[ro.product.model]: [Pixel 8]
[ro.soc.manufacturer]: [Google]
[ro.soc.model]: [Tensor G3]
[ro.product.cpu.abilist]: [arm64-v8a]
[ro.build.version.release]: [15]
[ro.build.version.sdk]: [35]
==machine==
aarch64
Linux
6.1.75
==memory==
MemTotal:        7812345 kB
MemAvailable:    3000000 kB
==battery==
  level: 81
  temperature: 312
==thermal==
IsStatusOverride: false
Thermal Status: 2
==governor==
schedutil
schedutil
==frequencies==
1704000
2914000
==cores==
9
"""


def test_a_phone_tells() -> None:
    facts = parse("S1", PHONE)
    assert facts.title == "Pixel 8, Android 15"
    assert facts.soc == "Google Tensor G3"
    assert facts.abis == ("arm64-v8a",)
    assert facts.api_level == 35
    assert facts.memory_bytes == 7812345 * 1024
    assert facts.battery_celsius == 31.2
    assert facts.thermal_status == "moderate"
    assert facts.governors == ("schedutil",)
    assert facts.max_frequency_hz == (1704000000, 2914000000)
    assert facts.cores == 9


def test_a_board_without_android_tells_what_it_has() -> None:
    text = "==props==\n==machine==\nx86_64\nLinux\n6.1\n==memory==\n==battery==\n==thermal==\n"
    facts = parse("S2", text)
    assert facts.abis == ("x86_64",)
    assert facts.android is None
    assert facts.system == "Linux 6.1"
    assert facts.memory_bytes is None
    assert is_cool(facts) is None


def test_a_throttled_or_hot_phone_is_not_cool() -> None:
    assert is_cool(parse("S1", PHONE)) is False
    assert is_cool(parse("S1", PHONE.replace("Status: 2", "Status: 1"))) is True
    assert is_cool(DeviceFacts("S", battery_celsius=41.0)) is False


def test_the_report_says_when_it_was_warm() -> None:
    facts = parse("S1", PHONE).to_dict()
    cooling = {"waited_seconds": 300.0, "cool": False, "limit_celsius": 36.0}
    lines = described({"before": facts, "after": facts, "cooling": cooling})
    assert lines[0] == "Pixel 8, Android 15 (API 35), Google Tensor G3, arm64-v8a"
    assert lines[-1].startswith("WARM when it was timed, after waiting 300 s")
