"""Help: shown whole in 80 columns, fast, and the same on the page."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer

from docs.build.cli import PAGE, page
from hydra_mobile.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = [(path, command)]
    for name, inside in getattr(command, "commands", {}).items():
        found += commands(inside, (*path, name))
    return found


ALL = commands(typer.main.get_command(app))
SHOWN = [(path, command) for path, command in ALL if not command.hidden]


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_help_fits_80_columns_and_is_not_cut(run_verb, path):
    code, out, err = run_verb(*path, "--help")
    assert (code, err) == (0, "")
    assert "Usage: hydra-mobile" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.replace("...]", "").replace("MODEL...", "").replace("RESULT...", "") \
        .replace("NAME...", "").replace("FOLDER...", "").replace("NAME,...", "")  # fmt: skip


@pytest.mark.parametrize(("path", "command"), SHOWN[1:], ids=[" ".join(p) for p, _ in SHOWN[1:]])
def test_a_summary_has_at_most_60_characters(path, command):
    summary = " ".join(command.help.split("\n\n")[0].split()).rstrip(".")
    assert 0 < len(summary) <= 60, summary


@pytest.mark.parametrize(("path", "command"), ALL[1:], ids=[" ".join(p) for p, _ in ALL[1:]])
def test_every_command_has_the_common_options_and_explains_its_own(path, command):
    if hasattr(command, "commands"):
        return
    options = {option for parameter in command.params for option in parameter.opts}
    assert {
        "--json",
        "--quiet",
        "-q",
        "--verbose",
        "-v",
        "--color",
        "--progress",
        "--log",
    } <= options
    for parameter in command.params:
        common = getattr(parameter, "rich_help_panel", "") == "Options for every command"
        if not (common or parameter.hidden or "--help" in parameter.opts):
            assert parameter.help, parameter.name


def test_the_page_is_the_help():
    assert PAGE.read_text(encoding="utf-8") == page(), "make it again: python -m docs.build.cli"


HEAVY = "{'torch', 'transformers', 'peft', 'numpy', 'PIL', 'onnx', 'executorch', 'rich'}"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["--version"], 0),
        (["trian"], 2),
        (["export", "runs/x", "--preset", "q4_k_m"], 2),
        (["export", "runs/x", "--target", "iphone"], 2),
        (["export", "runs/nothing"], 2),
        (["export", ".", "--target", "onnx", "--runtime", "coreml"], 2),
        (["train", "learning_rate=1"], 2),
        (["train"], 2),
        (["train", "--config", "emojiqa-smal"], 2),
        (["fetch", "smoll"], 2),
        (["evaluate", "smol", "--benchmarks", "pop"], 2),
        (["chat", "smol", "--image", "nothing.png"], 2),
        (["verify", "nothing"], 2),
        (["bench", "x", "--device", "phone"], 2),
        (["config"], 0),
        (["runs"], 0),
        (["benchmarks"], 0),
        (["fetch"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_lists_help_and_refusals_import_nothing_heavy(arguments, code, tmp_path):
    heavy = HEAVY if arguments[0] != "benchmarks" else "{'torch', 'transformers', 'peft', 'onnx'}"
    program = (
        f"import sys; sys.argv = ['hydra-mobile', *{arguments!r}]\n"
        "from hydra_mobile.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code or 0\n"
        f"print(sorted({heavy} & set(sys.modules)), code, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr.splitlines()[-1] == f"[] {code}", done.stderr


def test_no_command_imports_torch_to_refuse_an_option(tmp_path):
    """All commands in one process; what one imports too much would show with the next ones too."""
    verbs = [list(path) for path, command in SHOWN[1:] if not hasattr(command, "commands")]
    program = (
        "import functools, sys\nimport typer.main\n"
        "from hydra_mobile.cli.main import main\n"
        "typer.main.get_command = functools.cache(typer.main.get_command)\n"
        f"for verb in {verbs!r}:\n"
        "    for wrong in (['--no-such-option'], ['--help']):\n"
        "        sys.argv = ['hydra-mobile', *verb, *wrong]\n"
        "        try:\n            main()\n"
        "        except SystemExit as end:\n"
        "            expected = 0 if wrong == ['--help'] else 2\n"
        "            assert end.code == expected, (verb, wrong, end.code)\n"
        f"        heavy = {HEAVY} & set(sys.modules)\n"
        "        assert not heavy, (verb, wrong, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_option_before_its_command_is_told_where_it_belongs(run_verb) -> None:
    code, _, said = run_verb("--progress", "lines", "quickstart")
    assert code == 2
    assert "write --progress after the command" in said
