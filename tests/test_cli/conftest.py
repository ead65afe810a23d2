"""The command line, run in the tests' own process."""

from __future__ import annotations

import sys

import pytest

from hydra_mobile.cli.main import main


@pytest.fixture
def run_verb(monkeypatch, capsys):
    """Run a command line in this process; return exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hydra-mobile", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(bool(error.code))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
