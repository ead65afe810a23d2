"""Eager PyTorch as a runner: the reference that every exported form is compared with.

Loads a run (base and adapter, unmerged), a merged folder or a base.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache

from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.adapters.save_load import load_adapter
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.memory import keep_freed_memory
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import PROCESSOR_FILE, MobileVLMProcessor
from hydra_mobile.models.registry import base_folder
from hydra_mobile.runtimes.base import Array, CacheState, Runtime
from hydra_mobile.runtimes.model_ref import adapter_in, base_of


def load_artifact(
    path: Path,
) -> tuple[MobileVLMForConditionalGeneration, MobileVLMProcessor]:
    """Load the model and processor of a run, an adapter, a merged folder or a base.

    Raises:
        ArtifactError: the folder is none of these, or is not whole.
    """
    adapter = adapter_in(path)
    if (adapter / "adapter_config.json").is_file():
        base = base_of(adapter)
        model = load_model(base)
        load_adapter(model, adapter, base=base_identity(base))
        trained_with = adapter if (adapter / PROCESSOR_FILE).is_file() else base
        return model.eval(), MobileVLMProcessor.from_pretrained(base, recipe=trained_with)
    if (path / "run.json").is_file():
        raise ArtifactError(
            f"{path} holds a run without an adapter: it is not finished.",
            "Go on with `hydra-mobile train --resume`.",
        )
    folder = base_folder(str(path))
    return load_model(folder), MobileVLMProcessor.from_pretrained(folder)


class TorchRuntime(Runtime):
    """Eager fp32 with transformers' own cache, on the CPU or on one GPU."""

    name = "torch"

    def __init__(
        self,
        model: MobileVLMForConditionalGeneration,
        processor: MobileVLMProcessor,
        device: str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.processor = processor
        self.max_context = model.config.text_config.max_position_embeddings
        self.precision = "fp32"
        self.load_seconds = 0.0

    @classmethod
    def load(cls, path: Path, *, threads: int = 0, device: str = "cpu") -> TorchRuntime:
        """Load a run, adapter, merged folder or base.

        Args:
            path: its folder.
            threads: CPU threads; 0 leaves the choice to torch.
            device: "cpu", or a GPU: "cuda", "cuda:1".

        Raises:
            HydraError: there is no such GPU.
        """
        _require_device(device)
        keep_freed_memory()
        if threads:
            torch.set_num_threads(threads)
        began = time.perf_counter()
        runner = cls(*load_artifact(path), device)
        runner.load_seconds = time.perf_counter() - began
        return runner

    @torch.inference_mode()
    def encode_image(self, pixels: Array) -> Array:
        """Map pixels [1, 3, H, W] to image embeddings [1, N, hidden]."""
        embeddings: Array = self.model.encode_image(self._tensor(pixels)).cpu().numpy()
        return embeddings

    @torch.inference_mode()
    def vision_features(self, pixels: Array) -> Array:
        """Map pixels [1, 3, H, W] to the vision tower's features [1, P, C]."""
        features: Array = self.model.vision_features(self._tensor(pixels)).cpu().numpy()
        return features

    @torch.inference_mode()
    def project(self, features: Array) -> Array:
        """Map features [1, P, C] to image embeddings [1, N, hidden]."""
        embeddings: Array = self.model.project(self._tensor(features)).cpu().numpy()
        return embeddings

    @torch.inference_mode()
    def embed(self, ids: list[int]) -> Array:
        """Map n ids to embeddings [1, n, hidden]."""
        tokens = torch.tensor([ids], dtype=torch.long, device=self.device)
        embeddings: Array = self.model.embed_tokens(tokens).cpu().numpy()
        return embeddings

    @torch.inference_mode()
    def decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Append embeddings to the cache; return the last logits and the new state."""
        count = embeddings.shape[1]
        if state.length + count > self.max_context:
            raise HydraError(
                f"{state.length + count} tokens do not fit into a context of {self.max_context}."
            )
        cache = state.handle or DynamicCache()
        surplus = cache.get_seq_length() - state.length
        if surplus > 0:
            cache.crop(-surplus)
        positions = torch.arange(state.length, state.length + count, device=self.device)
        output = self.model(
            inputs_embeds=self._tensor(embeddings),
            position_ids=positions.unsqueeze(0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Array = output.logits[0, -1].cpu().numpy()
        return logits, CacheState(state.length + count, cache)

    def _tensor(self, values: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def _require_device(device: str) -> None:
    """Check that a GPU is there, and keep its convolutions in fp32."""
    if device == "cpu":
        return
    index = torch.device(device).index or 0
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise HydraError(
            f"There is no `{device}`: torch sees {torch.cuda.device_count()} CUDA devices.",
            "Leave --torch-device out, or start no more processes than there are GPUs.",
        )
    # Off for matrix products already; an fp32 reference must not be rounded to 10 bits.
    torch.backends.cudnn.allow_tf32 = False
