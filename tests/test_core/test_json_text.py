"""JSON that every reader accepts."""

from __future__ import annotations

import json
import math

import pytest

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named_by_its_keys(number, tmp_path):
    value = {"scores": [{"value": 1.0}, {"value": number}]}
    with pytest.raises(HydraError, match=rf"scores\[1\]\.value is {number}"):
        write_json(tmp_path / "report.json", value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_finite_is_written_as_the_standard_library_does():
    value = {"b": [1, 2.5, None, True, "ä"], "a": {}}
    assert dumps(value, sort_keys=True) == json.dumps(value, sort_keys=True)
    with pytest.raises(TypeError):
        dumps({"a": object()})
