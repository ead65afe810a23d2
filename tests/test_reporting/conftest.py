"""A report for each test."""

import pytest
from made_report import make_report

from hydra_mobile.reporting.schema import Report


@pytest.fixture
def report() -> Report:
    return make_report()
