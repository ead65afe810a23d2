import dataclasses

import numpy as np
import pytest
import torch

from hydra_mobile.core.errors import HydraError
from hydra_mobile.training.memory.out_of_memory import StepFacts, advice, advising

FACTS = StepFacts(
    stage="stage2",
    rows=3,
    tokens=412,
    batch_size=8,
    accumulation=1,
    questions_per_row=8,
    max_length=2048,
    gradient_checkpointing=False,
    four_bit=False,
)


def with_facts(**changes):
    return dataclasses.replace(FACTS, **changes)


@pytest.mark.parametrize(
    ("allocate", "size"),
    [
        (lambda: torch.empty(2**50), "4,194,304.00 GiB"),
        (lambda: np.empty(2**50), "8.00 PiB"),
    ],
)
def test_a_failed_allocation_says_shape_and_size(allocate, size):
    with pytest.raises(HydraError) as caught, advising(lambda: FACTS):
        allocate()
    assert "stage2" in caught.value.what
    assert "3 rows x 412 tokens" in caught.value.what
    assert size in caught.value.what
    assert caught.value.__cause__ is not None


def test_memory_error_of_python_names_no_size():
    with pytest.raises(HydraError, match="412 tokens\\.") as caught, advising(lambda: FACTS):
        bytearray(2**55)
    assert "runtime.gradient_checkpointing=true" in caught.value.fix


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ..."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_gpu_s_errors_are_known(error):
    with pytest.raises(HydraError) as caught, advising(lambda: FACTS):
        raise error
    assert ("20.00 MiB" in caught.value.what) == ("20.00" in str(error))


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("x"), KeyError("y")])
def test_other_exceptions_pass_untouched(error):
    with pytest.raises(type(error)) as caught, advising(lambda: FACTS):
        raise error
    assert caught.value is error


def test_nothing_happens_without_a_failure():
    with advising(lambda: FACTS):
        value = torch.ones(2).sum()
    assert value == 2


def test_settings_come_in_the_order_of_their_cost():
    text = advice(FACTS)
    places = [
        text.index(setting)
        for setting in (
            "runtime.gradient_checkpointing=true",
            "stage2.batch_size=4 stage2.accumulation=2",
            "data.questions_per_row=4",
            "data.max_length",
            "runtime.base_precision=4bit",
        )
    ]
    assert places == sorted(places)


def test_what_is_set_already_is_not_advised():
    text = advice(with_facts(gradient_checkpointing=True, four_bit=True, questions_per_row=1))
    assert "checkpointing" not in text
    assert "4bit" not in text
    assert "questions_per_row" not in text


def test_one_row_cannot_be_halved_by_the_batch_size():
    assert "batch_size" not in advice(with_facts(rows=1))


@pytest.mark.parametrize(("size", "accumulation", "half", "times"), [(2, 3, 1, 6), (3, 1, 1, 3)])
def test_accumulation_keeps_the_conversations_of_a_step(size, accumulation, half, times):
    text = advice(with_facts(batch_size=size, accumulation=accumulation))
    assert f"stage2.batch_size={half} stage2.accumulation={times} (as many" in text
