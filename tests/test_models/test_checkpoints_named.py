"""The named bases, with tiny checkpoints in the place of the hub's repositories."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
from original_checkpoints import (
    TEXT,
    language_shapes,
    original_config,
    tensors_of,
    vocabulary_size,
    write_clip,
    write_original,
    write_weights,
)

from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import resolve
from hydra_mobile.models import registry as bases
from hydra_mobile.models.checkpoints.importing import import_checkpoint
from hydra_mobile.models.published import PUBLISHED

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> list[tuple[str, list[str]]]:
    """Serve tiny checkpoints; return what was asked for, with the patterns."""
    asked: list[tuple[str, list[str]]] = []

    def files(self, hub_id: str, revision: str | None) -> list[str]:
        weights = ["pytorch_model.bin", "tf_model.h5"]
        return ["config.json", *weights, *(["model.safetensors"] if "V2" in hub_id else [])]

    def snapshot(hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((hub_id, allow_patterns))
        folder = tmp_path / hub_id / "snapshots" / (revision or COMMIT)
        if "clip" in hub_id:
            write_clip(folder)
        elif "LLaMA" in hub_id:
            write_llama(folder)
        else:
            write_original(folder, "ldpnetv2" if "V2" in hub_id else "ldpnet")
        return str(folder)

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    return asked


def write_llama(folder: Path) -> None:
    write_original(folder, "linear")
    shapes = language_shapes(vocabulary_size(), TEXT["hidden"], TEXT["inner"], TEXT["layers"])
    write_weights(folder, tensors_of(shapes), "safetensors")
    config = original_config("linear", vocabulary_size())
    text = {k: v for k, v in config.items() if not k.startswith(("mm_", "vision_"))}
    (folder / "config.json").write_text(json.dumps(text | {"model_type": "llama"}))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_named_base_is_fetched_once(name, hub):
    facts = PUBLISHED[name]
    folder = bases.base_folder(name, lambda line: None)
    config = json.loads((folder / "config.json").read_text())
    assert (folder.name, config["base"]) == (name, name)
    assert config["projector_config"] == {"model_type": facts.projector}
    ids = [hub_id for hub_id, _ in hub]
    assert ids == [facts.hub_id, *([facts.vision_hub_id] if facts.fresh_projector else [])]
    # Configurations, tokenizer and one kind of weights: neither code nor other frameworks' files.
    weights = "*.safetensors" if "V2" in facts.hub_id else "pytorch_model*.bin"
    assert hub[0][1] == ["*.json", "*.jinja", "tokenizer.model", weights]
    assert bases.base_folder(name, lambda line: None) == folder
    assert len(hub) == len(ids)


def test_what_a_hub_id_resolved_to_is_recorded_and_can_be_named(hub, tmp_path):
    folder = bases.base_folder("mobilevlm-v2-1.7b", lambda line: None)
    identity = base_identity(folder)
    assert identity.revision == COMMIT
    assert identity.to_dict()["revision"] == COMMIT
    other = COMMIT[::-1]
    lines: list[str] = []
    import_checkpoint(f"mtgv/MobileVLM_V2-1.7B@{other}", tmp_path / "other", log=lines.append)
    assert base_identity(tmp_path / "other").revision == other
    assert any(f"MobileVLM_V2-1.7B@{other}" in line for line in lines)
    # For people: what is compared are the weights.
    assert base_identity(tmp_path / "other").sha256 == identity.sha256


def test_every_name_has_a_builder():
    assert set(PUBLISHED) <= set(bases.BASES)
    assert all(callable(resolve("base", name, bases.BASES)) for name in bases.BASES)


def test_a_failed_download_leaves_nothing(hub, monkeypatch):
    def broken(hub_id: str, **more: object) -> str:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(HydraError, match=r"mtgv/MobileVLM-3B[\s\S]*no route"):
        bases.fetch("mobilevlm-3b", lambda line: None)
    assert not bases.cached_base("mobilevlm-3b").exists()
