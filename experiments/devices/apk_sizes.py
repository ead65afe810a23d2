"""How large is the APK: by ABI and runtime, without and with a model?

Each APK is built, signed and checked; a check that fails ends the run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from android_demo.tools import apk_build, apk_check
from android_demo.tools.apk_build import ABIS, RUNTIMES, Contents
from hydra_mobile.core.files import write_json


def measure(contents: Contents, folder: Path) -> dict[str, Any]:
    """Build one APK, and return its bytes by part."""
    apk = apk_build.build(lambda _: None, contents, folder / "app.apk")
    faults = [fault for check in apk_check.check(apk) for fault in check.faults]
    assert not faults, faults
    return {
        "abis": contents.abis,
        "runtimes": contents.runtimes,
        "model": contents.bundle.name if contents.bundle else None,
        "bytes": apk.stat().st_size,
        "parts": apk_build.parts(apk),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="a model to build in")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("apk_sizes.json"))
    arguments = parser.parse_args()
    kinds = [(abis, runtimes) for abis in (ABIS, ABIS[:1]) for runtimes in (RUNTIMES,)]
    kinds += [(ABIS[:1], (runtime,)) for runtime in RUNTIMES]
    wanted = [Contents.of(abis, runtimes) for abis, runtimes in kinds]
    if arguments.bundle:
        wanted.append(Contents.of(ABIS[:1], ("executorch",), arguments.bundle))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for contents in wanted:
            rows.append(row := measure(contents, Path(folder)))
            print(row["abis"], row["runtimes"], row["model"], f"{row['bytes'] / 1e6:.1f} MB")
    write_json(arguments.out, {"rows": rows})


if __name__ == "__main__":
    main()
