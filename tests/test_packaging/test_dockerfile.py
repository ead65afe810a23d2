"""The Dockerfile's form, and that it installs what the package asks for; it is not built here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
KNOWN = {"FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]


def test_every_instruction_is_one_and_the_image_does_not_run_as_root() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) <= KNOWN
    assert names[0] == "FROM"
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert dict(instructions())["USER"] != "root"


def test_it_installs_the_torch_of_the_readme_and_extras_of_the_package() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    pinned = re.search(r'pip install ("torch==[\d.]+")', TEXT)
    assert pinned
    assert f"pip install {pinned[1]}" in (ROOT / "README.md").read_text("utf-8")
    extras = re.search(r"hydra-mobile\[([\w,]+)\]", TEXT)
    assert extras
    assert set(extras[1].split(",")) <= set(package["project"]["optional-dependencies"])


def test_what_a_build_must_not_send_is_left_out() -> None:
    left_out = set((ROOT / ".dockerignore").read_text("utf-8").split())
    assert {".git", ".venv", "runs", "quickstart"} <= left_out
