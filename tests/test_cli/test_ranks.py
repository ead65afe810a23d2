from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from made_history import made_events, write_history

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.api.ranks import compared, replay_config
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ConfigError


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder that is still training: settings, metrics and history, nothing else."""
    folder = tmp_path / "run"
    write_history(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump({"ranks": {"r_ref": 16}, "seed": 7}))
    lines = [{"stage": "stage2", "step": step, "loss": 3 - step / 200} for step in (5, 310)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def refused(result, *needles: str) -> None:
    code, _, err = result
    assert code not in (0, None)
    assert "Traceback" not in err
    for needle in needles:
        assert needle in err


# -- show -----------------------------------------------------------------------------------------


def test_show_prints_events_map_and_totals(run_verb, run):
    code, out, err = run_verb("ranks", "show", run)
    assert code == 0, err
    assert all(fact in out for fact in ("hydra", "rank 16", "step 310", "not finished"))
    moves = [line for line in out.splitlines() if re.match(r" +\d+   move ", line)]
    assert len(moves) == 5
    for words in ("Step", "Event", "Why"):
        assert words in out
    assert "since step 220" in out
    assert "13 probes" in out
    assert "38%" in out
    assert "same sign" in out
    code, out, err = run_verb("ranks", "show", run, "--all")
    assert code == 0, err
    rows = [row for line in out.splitlines() if "".join(row := line.split()).isdigit()]
    final = RankHistory.of_run(run).final_map()
    shown = [int(rank) for row in rows for rank in row[1:]]
    assert len(shown) == 210
    assert sorted(shown) == sorted(final.values())


@pytest.mark.parametrize("width", [100, 60])
def test_show_keeps_to_the_width(run_verb, run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = run_verb("ranks", "show", run)
    assert code == 0, err
    table = out[: out.index("ranks since")]
    # The first line has a path, which is never broken.
    assert max(map(len, table.splitlines()[1:])) <= width
    assert "Why" in table
    assert "210 modules" in " ".join(table.split())


def test_show_json(run_verb, run):
    code, out, err = run_verb("ranks", "show", run, "--json")
    assert code == 0, err
    value = json.loads(out)["result"]
    assert value["events"] == made_events()
    assert value["final"]["digest"] == RankHistory.of_run(run).final_map().digest()
    assert value["totals"]["moves"] == 5
    assert value["finished"] is False


def test_show_reads_a_history_that_is_being_written(run_verb, run):
    file = run / "ranks.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    code, out, err = run_verb("ranks", "show", run)
    assert code == 0, err
    assert "freeze" not in out


@pytest.mark.parametrize("verb", ["show", "plot", "replay"])
def test_what_is_no_run_with_ranks_is_refused(run_verb, run, verb, tmp_path):
    more = ["--out", tmp_path / "new"] if verb == "replay" else []
    refused(run_verb("ranks", verb, tmp_path / "none", *more), "There is no folder", "none")
    refused(run_verb("ranks", verb, tmp_path, *more), "is no run", "config.yaml")
    (run / "ranks.jsonl").unlink()
    refused(run_verb("ranks", verb, run, *more), "ranks.jsonl", "when stage II begins")
    (run / "config.yaml").write_text(yaml.safe_dump({"ranks": {"policy": "full"}}))
    refused(run_verb("ranks", verb, run, *more), "policy `full`", "has no ranks")
    assert not (tmp_path / "new").exists()


def test_a_damaged_history_names_its_line(run_verb, run):
    lines = (run / "ranks.jsonl").read_text().splitlines()
    (run / "ranks.jsonl").write_text("\n".join([lines[0], "{", *lines[2:]]) + "\n")
    refused(run_verb("ranks", "show", run), "ranks.jsonl, line 2")


# -- plot -----------------------------------------------------------------------------------------


def test_plot_writes_into_the_run_or_elsewhere(run_verb, run, tmp_path):
    (run / "ranks.jsonl").unlink()
    write_history(run, layers=2)
    for more, file in ([], run / "ranks.svg"), (["--out", tmp_path / "a.svg"], tmp_path / "a.svg"):
        code, out, err = run_verb("ranks", "plot", run, *more)
        assert code == 0, err
        assert str(file) in out
        assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_plot_writes_only_svg(run_verb, run, tmp_path):
    refused(run_verb("ranks", "plot", run, "--out", tmp_path / "a.png"), "a.png")
    assert not (tmp_path / "a.png").exists()


# -- replay ---------------------------------------------------------------------------------------


def test_the_settings_of_a_replay(run, tmp_path):
    made = replay_config(run, tmp_path / "new", False, ["seed=8", "ranks.dropout=0.1"])
    recorded = load_config(run / "config.yaml")
    assert (made.seed, recorded.seed) == (8, 7)
    assert made.output == str(tmp_path / "new")
    assert made.ranks.policy == "replay"
    assert made.ranks.map_file == str(run / "ranks.jsonl")
    assert made.ranks.dropout == 0.1
    assert made.ranks.r_ref == 16
    assert made.stage2 == recorded.stage2
    assert replay_config(run, tmp_path / "new", True, ()).ranks.policy == "fixed"


@pytest.mark.parametrize("key", ["output", "ranks.policy", "ranks.map_file"])
def test_a_replay_decides_these_itself(run, key):
    with pytest.raises(ConfigError, match=key):
        replay_config(run, Path("new"), False, [f"{key}=x"])


def test_an_existing_run_is_refused(run_verb, run):
    (run / "run.json").write_text('{"config": {}}')
    (run / "summary.json").write_text("{}")
    refused(run_verb("ranks", "replay", run, "--out", run), "already exists", "--resume")


def test_comparison(run, tmp_path):
    new = tmp_path / "new"
    shutil.copytree(run, new)
    same = compared(run, new)
    assert same.same_map
    assert (same.step, same.loss) == (same.recorded_step, same.recorded_loss) == (310, 1.45)
    RankHistory.of_run(new).append({"step": 310, "event": "move", "ranks": {"x.0.q_proj": 1}})
    assert not compared(run, new).same_map


def test_a_run_trained_again_at_its_last_map(run_verb, run_settings, tmp_path):
    from hydra_mobile.training.run import TrainingRun

    shorter = ["data.stage1=", "ranks.policy=random", "stage2.steps=1"]
    settings = [*run_settings(tmp_path / "run"), *shorter]
    TrainingRun(load_config(None, settings)).train()
    new = tmp_path / "new"
    code, out, err = run_verb("ranks", "replay", tmp_path / "run", "--out", new, "--final")
    assert code == 0, err
    assert "recorded" in out
    recorded, repeated = (RankHistory.of_run(f).final_map() for f in (tmp_path / "run", new))
    assert recorded == repeated
    # Same map, seed and data from the first step on: the same loss.
    loss = re.search(r"Last logged loss: (\S+) at step 1, recorded (\S+) at step 1", out)
    assert loss is not None
    assert loss[1] == loss[2]


def test_help_and_show_import_nothing_heavy(run):
    for arguments in (["ranks", "--help"], ["ranks", "show", str(run)]):
        code = (
            f"import sys; sys.argv = ['hydra-mobile', *{arguments!r}]\n"
            "from hydra_mobile.cli.main import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
