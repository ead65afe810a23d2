"""Verbs in processes of their own: their words are ours, and their failures too."""

from __future__ import annotations

import pytest

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.subprocesses import run_verbs


def test_what_they_print_is_logged_and_counted() -> None:
    lines: list[str] = []
    counts: list[int] = []
    run_verbs(
        [["config"], ["config", "explain", "stage2.steps"]], log=lines.append, poll=counts.append
    )
    assert any("emojiqa-smol" in line for line in lines)
    assert any("stage2.steps" in line for line in lines)
    assert counts[-1] == 2
    assert counts == sorted(counts)


def test_a_failure_has_the_words_of_the_verb_and_stops_the_others() -> None:
    lines: list[str] = []
    with pytest.raises(HydraError) as raised:
        run_verbs([["trian"], ["config"], ["config"]], at_once=1, log=lines.append)
    assert "trian" in raised.value.found
    assert raised.value.where == "hydra-mobile trian"
    assert not any("emojiqa-smol" in line for line in lines)
