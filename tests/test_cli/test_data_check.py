"""`hydra-mobile data check` as a person calls it."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys

import pytest

from experiments.benchmarks.made_mix import PLANTED, MadeMix, counts_of
from hydra_mobile.config import load_config

FEW = {kind: 1 + number for number, kind in enumerate(PLANTED)}


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> MadeMix:
    made = MadeMix(tmp_path_factory.mktemp("mix"), 300, FEW, words_of_a_long_sample=3000)
    made.write()
    return made


def test_the_command_says_what_is_wrong_and_exits_with_3(mix, run_verb):
    code, out, err = run_verb(
        "data", "check", mix.file, "--images", mix.pictures, "--base", "tiny", "--template", "v1",
        "--max-length", 6000, "--examples", 1,
    )  # fmt: skip
    assert code == 3
    assert "records" in err
    assert f"over-long samples{FEW['over-long samples']:>20}" in out
    assert out.count("does not exist") == 1
    total = sum(FEW.values()) - FEW["duplicate ids"] - FEW["masked whole"]
    assert out.splitlines()[-1] == f"{mix.file}: {total} problems in 300 records"
    code, out, _ = run_verb(
        "data", "check", mix.file, "--images", mix.pictures, "--base", "tiny", "--template", "v1",
        "--max-length", 6000, "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert code == found["exit_code"] == 3
    assert found["error"]["kind"] == "check_failed"
    assert counts_of(found["result"]) == FEW


def test_a_clean_file_exits_with_0(run_verb, shapes_data):
    code, out, _ = run_verb("data", "check", shapes_data / "questions.json", "--base", "tiny")
    assert code == 0
    assert out.splitlines()[-1].endswith("questions.json: clean, 36 records")
    assert "12 different images" in out


def test_the_next_command_names_the_data_for_both_stages(run_verb, shapes_data, tmp_path):
    """A recipe's own captions are there only where somebody has made them."""
    file = tmp_path / "my questions.json"
    file.write_bytes((shapes_data / "questions.json").read_bytes())
    for verb in ("check", "head"):
        code, out, err = run_verb("data", verb, file, "--images", shapes_data, "--json")
        assert code == 0, err
        command = shlex.split(json.loads(out)["next"][-1])
        assert {f"data.stage1={file}", f"data.stage2={file}"} <= set(command)
        assert f"data.images={shapes_data}" in command
        assert load_config("emojiqa-smol", command[5:-1]).data.stage1 == str(file)


def test_the_bar_of_a_check_counts_records(run_verb, shapes_data):
    _, _, err = run_verb("data", "check", shapes_data / "questions.json")
    assert re.search(r"records +36 ", err)


def test_wrong_options_are_named(run_verb, shapes_data, tmp_path):
    file = shapes_data / "questions.json"
    code, _, err = run_verb("data", "check", file, "--pictures", "ful")
    assert code == 2
    assert "`ful`" in err
    assert "decode, header, exists, none" in err
    code, _, err = run_verb("data", "check", file, "--template", "v1")
    assert code == 2
    assert "--template" in err
    assert "--base" in err
    code, _, err = run_verb("data", "check", tmp_path / "no.json")
    assert code == 2
    assert "no.json" in err


def test_an_interrupted_check_prints_what_it_has(tmp_path):
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "a cat"}]
    file = tmp_path / "a.json"
    file.write_text(json.dumps([{}] + [{"conversations": turns}] * 3000))
    program = (
        "import signal, sys, time; from hydra_mobile.data import check\n"
        # Under a shell's background job the signal would be ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "actual = check.faults_in\n"
        "def slow(value):\n"
        "    if value:\n        print('reading', flush=True)\n"
        "    time.sleep(0.005)\n    return actual(value)\n"
        "check.faults_in = slow\n"
        "sys.argv = ['hydra-mobile', 'data', 'check', sys.argv[1]]\n"
        "from hydra_mobile.cli.main import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    # However slow the machine is: the malformed first record has been read by then.
    assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "malformed records                   1" in out
    assert "interrupted" in out.splitlines()[-1]
