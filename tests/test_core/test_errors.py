from __future__ import annotations

import pickle

from hydra_mobile.core.errors import ArtifactError, CheckFailed, HydraError, ParityError


def test_an_error_from_a_worker_keeps_its_fields():
    made = ArtifactError(
        "a file was altered",
        ["copy it again", "or make it again"],
        where="model.pte",
        found="3 bytes",
        expected="4 bytes",
        kept="nothing",
    )
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is ArtifactError
    assert again.__dict__ == made.__dict__
    assert again.fields() == {"where": "model.pte", "found": "3 bytes", "expected": "4 bytes"}
    assert again.fix == "copy it again\nor make it again"
    assert again.kind == "artifact"


def test_what_and_fix_are_enough():
    error = HydraError("x is 3, expected 4.", "Write 4.")
    assert str(error) == "x is 3, expected 4.\nWrite 4."
    assert error.fixes == ("Write 4.",)
    assert HydraError("x").fixes == ()


def test_a_failed_check_has_a_code_of_its_own():
    assert (ParityError("x").exit_code, CheckFailed("x").exit_code) == (3, 3)
    assert HydraError("x").exit_code == 2
    assert ParityError("x").kind == "check_failed"
