"""No module needs, while it is imported, what only some systems have.

Windows and macOS are not tested (README says so). What can be told here: every module is imported
with the other system's name, without the modules and the names that it lacks.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

#: By `sys.platform`: modules that are missing, names that `os` and `signal` lack.
LACKS = {
    "win32": {
        "modules": [
            *("curses", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios"),
            "tty",
        ],
        "os": [
            *("chown", "fchmod", "fork", "geteuid", "getloadavg", "getpgid", "getuid"),
            *("killpg", "mkfifo", "nice", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"),
            *("posix_fadvise", "POSIX_FADV_DONTNEED", "sched_getaffinity", "setpgid", "setsid"),
            *("setpriority", "statvfs", "sysconf", "uname", "WNOHANG"),
        ],
        "signal": ["SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1"],
    },
    "darwin": {
        "modules": ["msvcrt", "winreg"],
        "os": [
            *("posix_fadvise", "POSIX_FADV_DONTNEED", "sched_getaffinity", "sched_setaffinity"),
            *("memfd_create", "O_DIRECT", "O_PATH", "O_TMPFILE", "pipe2", "fdatasync"),
        ],
        "signal": ["SIGPWR", "SIGSTKFLT", "SIGPOLL", "SIGRTMIN"],
    },
}  # fmt: skip
IMPORTED = """
import importlib, json, os, pkgutil, signal, sys, types

system, lacks = sys.argv[1], json.loads(sys.argv[2])
found = []
for package in ("hydra_mobile", "hydra_export"):
    top = importlib.import_module(package)
    found += [package, *(m.name for m in pkgutil.walk_packages(top.__path__, package + "."))]
found = [name for name in found if not name.endswith("__main__")]
missing = set()
for name in found:
    try:
        importlib.import_module(name)
    except ImportError as error:  # an extra that is not installed
        if (error.name or "").startswith(("hydra_mobile", "hydra_export")):
            raise
        missing.add(name)
# Other projects' packages are loaded now; ours come again, on a system that has less.
for name in [n for n in sys.modules if n.split(".")[0] in ("hydra_mobile", "hydra_export")]:
    del sys.modules[name]
for name in lacks["modules"]:
    sys.modules[name] = None
for module in (os, signal):
    for name in lacks[module.__name__]:
        if hasattr(module, name):
            delattr(module, name)
if system == "win32":
    sys.modules["msvcrt"] = types.ModuleType("msvcrt")
sys.platform = system
for name in found:
    if name not in missing:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise SystemExit(f"{name}: {type(error).__name__}: {error}")
print(len(found) - len(missing))
"""


@pytest.mark.slow  # imports everything, twice
@pytest.mark.parametrize("system", LACKS)
def test_every_module_is_imported_on_a_system_that_has_less(system: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", IMPORTED, system, json.dumps(LACKS[system])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 300
