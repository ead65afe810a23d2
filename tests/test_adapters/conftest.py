"""The small model of `small_llama` and what is asked of it.

Fixtures import what they need: the process that hands out the tests reads this file too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from small_llama import TinyVLM
    from torch import Tensor

    from hydra_mobile.adapters.budget import Budget


@pytest.fixture
def batches() -> list[Tensor]:
    import torch

    generator = torch.Generator().manual_seed(4)
    return [torch.randint(0, 128, (2, 9), generator=generator) for _ in range(3)]


@pytest.fixture(scope="session")
def mobilellama_budget() -> Callable[[int, int, int, int], Budget]:
    from small_llama import mobilellama_budget

    return mobilellama_budget


@pytest.fixture
def model() -> TinyVLM:
    import torch
    from small_llama import TinyVLM

    torch.manual_seed(0)
    return TinyVLM().eval()


@pytest.fixture
def names(model: TinyVLM) -> list[str]:
    from small_llama import language_linears

    return language_linears(model)


@pytest.fixture
def budget(model: TinyVLM, names: list[str]) -> Budget:
    from hydra_mobile.adapters.budget import Budget

    return Budget.of(model, names, 8)


@pytest.fixture
def ids() -> Tensor:
    import torch

    return torch.randint(0, 128, (2, 9), generator=torch.Generator().manual_seed(1))
