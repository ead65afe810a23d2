"""Training checkpoints: everything that decides what comes next, in one folder, whole or absent.

Holds trained tensors and optimizer moments by name, the place in the data, every process's random
state, and what the strategy of stage II wants back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import write_json
from hydra_mobile.core.folders import Mark, folder_atomically
from hydra_mobile.core.integrity import hashes_of, read_sealed, require_recorded, sealed
from hydra_mobile.training.random_state import RandomState

SCHEMA = 2
_PLACE = "state.json"
_TENSORS = "state.safetensors"
_MARK = Mark(_PLACE, "a checkpoint")


@dataclass(frozen=True)
class Checkpoint:
    """A place in a run.

    Attributes:
        stage: "align", "stage1" or "stage2".
        step: optimizer steps done in the stage.
        trained: trained tensors by name.
        moments: optimizer state by name, see `NamedAdamW.state`.
        extra: further tensors of the strategy, by name.
        facts: what else the run wants back: state of the strategy, seconds spent, ...
        random_states: the random streams of each process, in order.
    """

    stage: str
    step: int
    trained: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    extra: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    random_states: Sequence[RandomState]

    def write(self, folder: Path) -> None:
        """Write to `folder`, which appears when it is complete."""
        with folder_atomically(folder, mark=_MARK) as temporary:
            tensors = {f"trained.{k}": v.detach().contiguous() for k, v in self.trained.items()}
            tensors |= {f"moments.{k}": v.contiguous() for k, v in self.moments.items()}
            tensors |= {f"extra.{k}": v.detach().contiguous() for k, v in self.extra.items()}
            for index, state in enumerate(self.random_states):
                tensors[f"random.{index}.cpu"] = state.cpu
                tensors[f"random.{index}.cuda"] = state.cuda
            save_file(tensors, str(temporary / _TENSORS))
            place: dict[str, Any] = {"schema": SCHEMA, "stage": self.stage, "step": self.step}
            place["processes"] = len(self.random_states)
            record = {**place, "facts": dict(self.facts), "files": hashes_of(temporary, [_TENSORS])}
            write_json(temporary / _PLACE, sealed(record))

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            ArtifactError: it is missing, cut short, altered or of another version.
        """
        fix = f"Remove {folder}: --resume goes on from the checkpoint before it, or from the start."
        place = read_sealed(folder / _PLACE, "the place of a checkpoint", fix)
        if place.get("schema") != SCHEMA:
            raise ArtifactError(
                f"{folder / _PLACE}: schema is {place.get('schema')!r}, expected {SCHEMA}."
            )
        # Checkpoints of earlier versions name no hashes.
        require_recorded(folder, place.get("files", {}), _PLACE, fix, again=True)
        file = folder / _TENSORS
        try:
            tensors = load_file(str(file))
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{file} cannot be read: {error}.", fix) from error
        return cls(
            place["stage"],
            int(place["step"]),
            _with_prefix(tensors, "trained."),
            _with_prefix(tensors, "moments."),
            _with_prefix(tensors, "extra."),
            place["facts"],
            [
                RandomState(tensors[f"random.{index}.cpu"], tensors[f"random.{index}.cuda"])
                for index in range(place["processes"])
            ],
        )


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
