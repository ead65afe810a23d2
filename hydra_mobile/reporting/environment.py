"""Facts about the measuring machine, for the report.

Reads package versions from their metadata and the processor from the system, so that nothing
heavy is imported. Leaves out what a report must not carry: paths, user and host names. Whoever
builds a `Report` calls `collect` once, before the measuring, so that the load average is that of
the start.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from hydra_mobile.core.registry import extras
from hydra_mobile.reporting.results import Environment

#: What computes always; the packages of our extras (runtimes, exporters) are reported beside them.
PACKAGES = (
    "hydra-mobile",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "numpy",
    "pillow",
)
#: Extras for who works on the project itself.
_NOT_REPORTED = ("dev",)

# Which kernels run, and how fast, hangs on these.
CPU_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)


def collect(accelerator: str | None = None) -> Environment:
    """Describe this machine as it is now.

    Args:
        accelerator: name of the device that computed, when it was not the processor.
    """
    cpu, flags = _processor()
    return Environment(
        kind="host",
        machine=platform.machine(),
        system=_system(),
        python=platform.python_version(),
        cpu=cpu,
        cpu_flags=tuple(flag for flag in CPU_FLAGS if flag in flags),
        cores_physical=psutil.cpu_count(logical=False),
        cores_logical=psutil.cpu_count(logical=True),
        memory_bytes=psutil.virtual_memory().total,
        accelerator=accelerator,
        load_average=_load_average(),
        packages=package_versions(),
        git_revision=_git_revision(Path(__file__)),
    )


def package_versions() -> dict[str, str]:
    """Return the version of each installed package of `PACKAGES` and of our extras."""
    optional = (
        name for extra, names in extras().items() if extra not in _NOT_REPORTED for name in names
    )
    versions = {}
    for name in dict.fromkeys((*PACKAGES, *optional)):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _system() -> str:
    # Of the kernel's release only the number: the rest may name the machine's provider.
    number = re.match(r"\d+(\.\d+)*", platform.release())
    kernel = f"{platform.system()} {number.group()}" if number else platform.system()
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        name = None
    return f"{name}, {kernel}" if name else kernel


def _processor() -> tuple[str | None, set[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor() or None, set()
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip().lower(), value.strip())
    name = found.get("model name") or found.get("hardware") or platform.processor() or None
    return name, set((found.get("flags") or found.get("features") or "").split())


def _load_average() -> tuple[float, ...] | None:
    try:
        return tuple(round(value, 2) for value in os.getloadavg())
    except (AttributeError, OSError):
        return None


def _git_revision(source: Path) -> str | None:
    """Return the revision of the checkout that `source` belongs to, "+" when it was changed."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(source.parent), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie inside a checkout of somebody else's project.
    if git("ls-files", "--error-unmatch", source.name) is None:
        return None
    revision = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{revision}{'+' if changed else ''}" if revision else None
