"""Run folders that earlier versions wrote."""

from __future__ import annotations

from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.training.run_folder import RunFolder


def test_a_run_that_holds_the_former_name_of_a_key_goes_on(tmp_path):
    run = tmp_path / "run"
    RunFolder(TrainConfig(output=str(run)), 1).open(resume=False)
    for name in ("run.json", "config.yaml"):
        text = (run / name).read_text()
        assert "initialization" in text
        (run / name).write_text(text.replace("initialization", "initialisation"))
    RunFolder(load_config(run / "config.yaml"), 1).open(resume=True)
