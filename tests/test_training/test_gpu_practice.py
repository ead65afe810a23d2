"""What users of a GPU switch on, as far as a CPU can run it: whole runs on base `tiny`."""

import pytest
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.training import compiling
from hydra_mobile.training import run as run_module
from hydra_mobile.training.run import TrainingRun


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps the first precision of a process; these tests use several."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def train(settings, *more):
    config = load_config(None, [*settings, "data.stage1=", "ranks.rank_step=1", *more])
    return TrainingRun(config).train()


def test_compiled_layers_train_the_same_adapter_over_a_change_of_ranks(
    run_settings, tmp_path, monkeypatch
):
    eager = train(run_settings(tmp_path / "eager"))
    # Dynamo without a code generator: what it traces and guards is what could go wrong here.
    monkeypatch.setattr(
        run_module, "compile_layers", lambda model: compiling.compile_layers(model, "eager")
    )
    compiled = train(run_settings(tmp_path / "compiled"), "runtime.compile=true")
    one, two = (load_file(f / "adapter_model.safetensors") for f in (eager, compiled))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5


def test_adalora_is_not_compiled(run_settings, tmp_path):
    with pytest.raises(ConfigError, match="AdaLoRA"):
        train(run_settings(tmp_path / "run"), "ranks.policy=adalora", "runtime.compile=true")


@pytest.mark.slow
def test_a_four_bit_base_trains_and_its_adapter_fits_the_full_base(run_settings, tmp_path):
    pytest.importorskip("bitsandbytes")
    adapter = train(run_settings(tmp_path / "run"), "runtime.base_precision=4bit")
    tensors = load_file(adapter / "adapter_model.safetensors")
    assert all(float(value.abs().max()) > 0 for value in tensors.values())


@pytest.mark.slow
def test_bf16_with_checkpointing(run_settings, tmp_path):
    more = ("runtime.precision=bf16", "runtime.gradient_checkpointing=true")
    adapter = train(run_settings(tmp_path / "run"), *more)
    assert (adapter / "adapter_model.safetensors").is_file()


def test_out_of_memory_names_the_setting_to_change(run_settings, tmp_path, monkeypatch):
    import torch

    real = run_module.train_step

    def greedy(*args):
        torch.empty(2**50)
        return real(*args)

    monkeypatch.setattr(run_module, "train_step", greedy)
    with pytest.raises(HydraError, match="emory") as caught:
        train(run_settings(tmp_path / "run"))
    assert "runtime.gradient_checkpointing=true" in caught.value.fix
