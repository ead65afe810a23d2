"""What all verbs share: streams, errors, exit codes, one JSON document, widths, old names."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hydra_mobile.cli import ui
from hydra_mobile.cli.main import main
from hydra_mobile.cli.ui.layout import table_lines
from hydra_mobile.cli.ui.screen import Screen, Settings
from hydra_mobile.cli.ui.verb import perform
from hydra_mobile.core.errors import ArtifactError

KEYS = {
    *("schema", "command", "ok", "exit_code", "result", "error"),
    *("warnings", "next", "log", "seconds", "version"),
}
KINDS = {
    *("internal", "usage", "config", "data", "artifact", "memory", "disk", "device", "missing"),
    *("network", "check_failed", "interrupted"),
}


def document(text: str) -> dict[str, Any]:
    """Parse all of standard output, and hold it against the envelope."""
    value: dict[str, Any] = json.loads(text)
    assert set(value) == KEYS
    assert re.fullmatch(r"hydra-mobile/[a-z-]+/[0-9]+", value["schema"])
    assert value["ok"] == (value["exit_code"] == 0)
    assert value["exit_code"] in (0, 1, 2, 3, 130, 143)
    if value["error"]:
        assert {"kind", "what", "fix"} <= set(value["error"])
        assert value["error"]["kind"] in KINDS
        assert isinstance(value["error"]["fix"], list)
    assert (value["error"] is None) == value["ok"]
    return value


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["fetch"],
        ["config"],
        ["config", "show", "emojiqa-smol"],
        ["config", "check", "emojiqa-smol"],
        ["config", "explain", "stage2.steps"],
        ["runs"],
        ["benchmarks"],
        ["cache"],
        ["cache", "clear", "--yes", "--older-than", "9999"],
    ],
    ids=" ".join,
)
def test_json_of_what_goes_well(run_verb, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_verb(*arguments, "--json")
    value = document(out)
    assert (code, value["ok"]) == (0, True)
    assert value["command"] == [*arguments, "--json"]
    assert value["result"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["quickstart", "stage2.steps=many"], "config"),
        (["fetch", "nothing"], "usage"),
        (["config", "show", "nothing"], "config"),
        (["data", "check", "nothing.json"], "usage"),
        (["data", "emojiqa", "--art", "x"], "config"),
        (["estimate"], "config"),
        (["train"], "data"),
        (["runs", "show", "nothing"], "artifact"),
        (["ranks", "show", "nothing"], "artifact"),
        (["ranks", "plot", "nothing"], "artifact"),
        (["ranks", "replay", "nothing"], "artifact"),
        (["merge", "nothing"], "usage"),
        (["export", "./nothing"], "usage"),
        (["bundle", "show", "nothing"], "usage"),
        (["bundle", "add", "nothing", "run"], "usage"),
        (["verify", "nothing"], "usage"),
        (["evaluate", "a/b"], "usage"),
        (["benchmarks", "check", "pop"], "usage"),
        (["benchmarks", "table", "gqa"], "config"),
        (["score", "gqa", "--answers", "nothing"], "usage"),
        (["report", "nothing"], "usage"),
        (["bench", "nothing"], "artifact"),
        (["chat", "smol", "--image", "nothing"], "usage"),
        (["devices", "list", "nothing"], "usage"),
        (["app", "check", "nothing.apk"], "usage"),
        (["import", "nothing", "--out", "x"], "artifact"),
        (["compose", "--language", "nothing", "--projector", "ldpnet"], "artifact"),
        (["convert", "nothing"], "artifact"),
        (["cache", "clear", "nothing"], "usage"),
        (["nothing"], "usage"),
        (["train", "--nothing"], "usage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_json_of_what_goes_wrong(run_verb, tmp_path, monkeypatch, arguments, kind):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_verb(*arguments, "--json")
    value = document(out)
    assert code == value["exit_code"] == 2
    assert value["error"]["kind"] == kind, value["error"]
    assert "Traceback" not in err


def test_a_file_after_json_is_told_the_new_way(run_verb):
    code, _, err = run_verb("bench", "bundle", "--json", "out.json")
    assert code == 2
    assert "hydra-mobile bench bundle --json > out.json" in err


# -- exit codes and errors -------------------------------------------------------------------------


def test_a_fault_of_ours_is_code_1_with_a_log_that_has_the_trace(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))

    def verb() -> ui.Result:
        raise KeyError("oops")

    assert perform("made", Settings(), False, verb) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    (log,) = (tmp_path / "logs").glob("*.log")
    assert str(log) in err
    assert "Traceback" in log.read_text()
    assert "KeyError" in log.read_text()


def test_what_follows_a_command_in_json_is_no_part_of_it(capsys):
    assert perform("made", Settings(json=True), False, lambda: ui.Result({"a": 1})) == 0
    capsys.readouterr()
    ui.line("said later")
    assert capsys.readouterr().out == "said later\n"


def test_fields_of_an_error_stand_on_lines_of_their_own(capsys):
    def verb() -> ui.Result:
        raise ArtifactError(
            "a file was altered",
            ["copy it", "or make it"],
            where="model.pte",
            found="3 bytes \x1b[31m",
            expected="4 bytes",
            kept="nothing",
        )

    assert perform("made", Settings(), False, verb) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: a file was altered",
        "  where     model.pte",
        r"  found     3 bytes \x1b[31m",
        "  expected  4 bytes",
        "  fix       copy it",
        "            or make it",
        "  kept      nothing",
    ]


def test_the_log_goes_where_it_is_asked_to(run_verb, tmp_path):
    file = tmp_path / "deep" / "a.log"
    assert run_verb("config", "--log", file)[0] == 0
    assert "emojiqa-smol" in file.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_says_what_was_kept_and_how_to_go_on(number, code):
    program = (
        "import signal, sys, time\n"
        # Under a shell's background job the signal would be ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hydra_mobile.cli import main, runs, ui\n"
        "def slow(*given):\n"
        "    ui.going_on('The last checkpoint stays.', 'hydra-mobile train --resume run')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "runs.summary_of = slow\n"
        "sys.argv = ['hydra-mobile', 'runs', 'show', 'run']\n"
        "main.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "checkpoint" in err
    assert "  hydra-mobile train --resume run" in err
    assert "Traceback" not in err


# -- streams, colors, widths -----------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        [sys.executable, "-m", "hydra_mobile", *arguments],
        capture_output=True,
        env={**clean, **environment},
        check=False,
    )


def test_results_go_to_stdout_and_the_rest_to_stderr():
    done = run("config")
    assert b"emojiqa-smol" in done.stdout
    assert b"Next" not in done.stdout
    assert b"Next" in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    quiet = run("config", "--quiet")
    assert quiet.stdout == done.stdout
    assert quiet.stderr == b""


def test_quiet_prints_the_path_alone(run_verb, tmp_path):
    code, out, err = run_verb("config", "copy", "emojiqa-smol", tmp_path / "a.yaml", "-q")
    assert (code, out, err) == (0, f"{tmp_path / 'a.yaml'}\n", "")


def test_colors_are_asked_for_or_not(run_verb, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in run_verb("config", "--color", "always")[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run_verb("config")[1]
    assert "\x1b[" not in run_verb("config", "--color", "never")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run_verb("config")[1]


@pytest.mark.parametrize("width", [60, 100])
def test_tables_keep_to_the_width(run_verb, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in (["config"], ["benchmarks"], ["fetch"]):
        lines = run_verb(*arguments)[1].splitlines()
        assert lines
        assert max(map(len, lines)) <= width, arguments


def test_a_terminal_without_utf_8_gets_words_for_marks():
    done = run("config", "check", "emojiqa-smol", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout.startswith(b"ok emojiqa-smol")


def test_a_reader_that_has_enough_ends_nothing():
    command = f"{sys.executable} -m hydra_mobile config explain -v | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("base")
    assert "Broken" not in done.stderr
    assert "error" not in done.stderr


def test_a_table_loses_columns_then_becomes_names_and_values():
    columns = [ui.Column("name"), ui.Column("size", right=True, drop=1), ui.Column("state")]
    rows = [("a", "1", "done"), ("b" * 20, "22", "stopped")]
    assert table_lines(columns, rows, 60) == [
        "  name                   size   state",
        "  " + "\u2500" * 37,
        "  a                         1   done",
        "  " + "b" * 20 + "     22   stopped",
    ]
    assert "size" not in table_lines(columns, rows, 35)[0]
    assert table_lines(columns, rows, 20)[:2] == ["  a", "    state  done"]


def test_markup_in_names_is_text(capsys):
    screen = Screen(Settings())
    screen.out("runs/[a] [/x] [red]")
    screen.close()
    assert capsys.readouterr().out == "runs/[a] [/x] [red]\n"


# -- old names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["export-original", "nothing"], "hydra-mobile convert"),
        (["export-adapter", "a", "--bundle", "b", "--name", "n"], "hydra-mobile bundle add"),
        (["merge-answers", "nothing"], "hydra-mobile evaluate --from-shards"),
        (["data", "check-benchmark", "gqa", "--data", "no"], "hydra-mobile benchmarks check"),
        (["data", "tsv", "gqa", "--data", "no", "--out", "x"], "hydra-mobile benchmarks table"),
        (["chat", "a/b", "--image", "no.png", "--question", "?"], "--ask"),
        (["chat", "a/b", "--image", "no.png", "--max-new-tokens", "4"], "--new-tokens"),
        (["verify", "no", "--run", "r"], "--against"),
        (["verify", "no", "--benchmark=pope"], "--benchmarks"),
        (["data", "check", "no.json", "--show", "1"], "--examples"),
        (["data", "check", "no.json", "--pictures", "full"], "--pictures decode"),
        (["benchmarks", "check", "gqa", "--pictures=some", "--data", "no"], "--pictures=sample"),
        (["estimate", "--bundle", "no", "--device-memory", "6"], "--phone-memory"),
        (["estimate", "--set", "base=nothing", "--gpus", "1"], "its value alone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_old_names_work_and_say_the_new_one(run_verb, tmp_path, monkeypatch, old, new):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_verb(*old, "--json")
    value = document(out)
    assert code == 2
    # Past the parser: what is missing is a file, not an option or a command.
    assert "unknown" not in value["error"]["what"]
    assert any(new in warning for warning in value["warnings"])
    assert new in err


def test_zero_still_means_no_limit(run_verb, tmp_path):
    for value in ("0", "auto"):
        code, _, err = run_verb("bench", tmp_path, "--threads", value)
        assert code == 2
        assert "--threads" not in err


def test_train_takes_the_run_as_a_path(run_verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.json").write_text("{}")
    (tmp_path / "runs" / "a" / "summary.json").write_text("{}")
    code, _, err = run_verb("train", "runs/a", "--config", "emojiqa-smol")
    assert code == 2
    assert "runs/a" in err
    assert "hydra-mobile train --resume runs/a" in err
    code, _, err = run_verb("train", "runs/a", "runs/b")
    assert code == 2
    assert "one run" in err


# -- places ----------------------------------------------------------------------------------------


def test_a_folder_of_another_program_is_never_replaced(run_verb, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    for force in ([], ["--force"]):
        code, _, err = run_verb("merge", tmp_path / "run", "--out", folder, *force)
        assert code == 2
        assert "notes.txt" in err
    assert (folder / "notes.txt").read_text() == "mine"


def test_another_bundle_needs_force(run_verb, tmp_path):
    manifest = {"target": "ios", "runtime": "coreml", "preset": {"name": "int8"}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = run_verb("export", "tiny", "--target", "onnx", "--out", tmp_path)
    assert code == 2
    assert "coreml int8 for ios" in err
    assert "--force" in err


def test_main_is_the_entry_point(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hydra-mobile", "--version", "-v"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("hydra-mobile ")
    assert re.search(r"^torch \d", out, re.MULTILINE)


def test_a_mistyped_path_names_its_sibling(run_verb, tmp_path):
    (tmp_path / "emojiqa").mkdir()
    code, _, err = run_verb("merge", tmp_path / "emojiq")
    assert code == 2
    assert str(Path(tmp_path / "emojiqa")) in err
