"""What passes before stage II give: importance, and a start of A along the gradients.

Nothing trains in them and no adapter is in the model yet. The micro-batches are the first ones of
the run, shared out between the processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.gradient_start import align
from hydra_mobile.adapters.importance import Importance, measure
from hydra_mobile.adapters.lora import lora_parameters
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.strategies import StageTwo


def calibrate(
    stage: StageTwo, names: Sequence[str], gradients: dict[str, Tensor] | None = None
) -> Importance:
    """Measure the importance of linears.

    Args:
        stage: gives model, batches and loss.
        names: fully qualified names of the linears.
        gradients: filled with the mean gradients of this process's batches, float32 [out, in].
    """
    count = math.ceil(stage.config.ranks.calibration_batches / stage.setup.processes.count)

    def batches() -> Iterator[list[Row]]:
        step, left = 0, count
        while left:
            for rows in stage.stream.step_rows(step):
                yield rows
                left -= 1
                if not left:
                    return
            step += 1

    model = stage.setup.model

    def loss(_: nn.Module, rows: list[Row]) -> Tensor:
        return stage.objective(model, rows)

    found = measure(model.whole, names, batches(), loss, gradients=gradients)
    return found.averaged(broadcast.mean)


def start_along(stage: StageTwo, gradients: Mapping[str, Tensor]) -> None:
    """Start A along the gradients, the same on all processes.

    Args:
        stage: its model carries fresh adapters.
        gradients: of this process, from `calibrate`.
    """
    model = stage.setup.model.whole
    mean = {name: broadcast.mean(gradient) for name, gradient in gradients.items()}
    ranks = stage.config.ranks
    caught = align(model, mean, stage.config.seed, r_ref=ranks.r_ref, compensate=ranks.compensate)
    # Decompositions may differ in the last bit between processes.
    broadcast.same_tensors(lora_parameters(model).values())
    stage.log(
        f"start: A along the gradient of {ranks.calibration_batches} micro-batches, "
        f"{caught:.0%} of its squared norm"
    )
