"""Eager PyTorch as a runtime: the reference that every exported form is compared with.

Loads a run (base and adapter, unmerged), a merged folder or a base.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from hydra_mobile.adapters.folder_files import CONFIG_FILE
from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.memory import keep_freed_memory
from hydra_mobile.models.cache_rows import cache_tensors, joined_rows
from hydra_mobile.models.families import family_of
from hydra_mobile.models.loading import load_with_processor
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.registry import base_folder
from hydra_mobile.models.vision_language import VisionLanguageModel
from hydra_mobile.runtimes.base import Array, CacheState
from hydra_mobile.runtimes.batched import BatchedRuntime
from hydra_mobile.runtimes.model_ref import adapter_in, base_of


def load_artifact(
    path: Path,
) -> tuple[VisionLanguageModel, MobileVLMProcessor]:
    """Load the model and processor of a run, an adapter, a merged folder or a base.

    Raises:
        ArtifactError: the folder is none of these, or is not whole.
    """
    adapter = adapter_in(path)
    if (adapter / CONFIG_FILE).is_file():
        base = base_of(adapter)
        model, processor = load_with_processor(base, adapter)
        rename = family_of(base).rename(base)
        # Its import of peft takes seconds, which bases and merged models need not wait for.
        from hydra_mobile.adapters.save_load import load_adapter

        load_adapter(model.whole, adapter, base=base_identity(base), rename=rename)
        return model.eval(), processor
    if (path / "run.json").is_file():
        raise ArtifactError(
            f"{path} holds a run without an adapter: it is not finished.",
            "Go on with `hydra-mobile train --resume`.",
        )
    folder = base_folder(str(path))
    return load_with_processor(folder)


class TorchRuntime(BatchedRuntime):
    """Eager fp32 with transformers' own cache, on the CPU or on one GPU."""

    name = "torch"
    title = "torch"
    summary = "runs, merged models and bases in eager fp32"

    def __init__(
        self,
        model: VisionLanguageModel,
        processor: MobileVLMProcessor,
        device: str = "cpu",
    ) -> None:
        text = model.config.text_config
        super().__init__(
            processor,
            max_context=text.max_position_embeddings,
            precision="fp32",
            vocab_size=text.vocab_size,
            hidden_size=model.row_width,
        )
        self.device = torch.device(device)
        self.model = model.to(self.device)

    @classmethod
    def load(cls, model: Bundle | Path, *, threads: int = 0, device: str = "cpu") -> Self:
        """Load a run, adapter, merged folder or base.

        Args:
            model: its folder.
            threads: CPU threads; 0 leaves the choice to torch.
            device: "cpu", or a GPU: "cuda", "cuda:1".

        Raises:
            ArtifactError: it is a bundle, or is not whole.
            HydraError: there is no such GPU.
        """
        if isinstance(model, Bundle):
            raise ArtifactError(
                f"{model.path} is a bundle, which runs on `{model.runtime}`, not on torch.",
                "Give the merged folder that it was exported from.",
            )
        _require_device(device)
        keep_freed_memory()
        if threads:
            torch.set_num_threads(threads)
        began = time.perf_counter()
        runtime = cls(*load_artifact(Path(model)), device)
        runtime.load_seconds = time.perf_counter() - began
        return runtime

    @torch.inference_mode()
    def _encode_image(self, pixels: Array) -> Array:
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
    def _embed(self, ids: list[int]) -> Array:
        tokens = torch.tensor([ids], dtype=torch.long, device=self.device)
        embeddings: Array = self.model.embed_tokens(tokens).cpu().numpy()
        return embeddings

    def _decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        logits, state = self._decode_rows(embeddings, state)
        return logits[0], state

    @torch.inference_mode()
    def _decode_rows(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        batch, count = embeddings.shape[:2]
        cache = state.handle or self.model.new_cache()
        if cache is not None and cache.get_seq_length() > state.length:
            cache.crop(state.length - cache.get_seq_length())
        positions = torch.arange(state.length, state.length + count, device=self.device)
        output = self.model(
            inputs_embeds=self._tensor(embeddings),
            position_ids=positions.expand(batch, -1),
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Array = output.logits[:, -1].cpu().numpy()
        return logits, CacheState(state.length + count, output.cache)

    @torch.inference_mode()
    def take_rows(self, rows: Sequence[tuple[CacheState, int]]) -> CacheState:
        """Return the state of sequences of other batches, all of one length; theirs stay."""
        if not rows:
            return CacheState()
        length = rows[0][0].length
        return CacheState(length, joined_rows([(state.handle, row) for state, row in rows], length))

    def state_bytes(self, state: CacheState) -> int:
        """Return the bytes that a state holds."""
        return sum(tensor.nbytes for tensor in cache_tensors(state.handle))

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
