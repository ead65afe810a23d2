import contextlib
import copy
import json
import math
import shutil
from dataclasses import replace

import pytest

from hydra_mobile.core import files
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.folders import require_replaceable
from hydra_mobile.core.marks import MARKS
from hydra_mobile.reporting import write
from hydra_mobile.reporting.results import Score, Spread, SystemResult
from hydra_mobile.reporting.schema import REPORT_SCHEMA, ParityRow, Report
from hydra_mobile.reporting.write import new_report, read_report, write_report


def test_round_trip_through_json_text(report):
    assert Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report


def test_round_trip_through_a_folder(report, tmp_path):
    paths = write_report(report, tmp_path / "report")
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    assert all(path.stat().st_size > 0 for path in paths)
    assert read_report(tmp_path / "report") == read_report(paths[0]) == report


def test_pinned_format(report):
    value = report.to_dict()
    assert value["schema"] == 1
    assert set(value) == {
        "schema",
        "created",
        "title",
        "environment",
        "training",
        "systems",
        "parity",
        "protocol",
        "notes",
        "licences",
        "comparisons",
        "titles",
        "questions",
    }
    assert value["training"]["loss"][0] == ["projector", 1, report.training.loss[0].loss]
    assert value["systems"][0]["timings"]["encode"] is None
    assert value["systems"][1]["timings"]["load"] == {
        "median": 0.91,
        "p25": 0.91 * 0.97,
        "p75": 0.91 * 1.04,
        "n": 7,
    }


def test_a_report_without_titles_is_read_and_names_its_benchmarks_plainly(report):
    value = report.to_dict()
    del value["titles"]
    older = Report.from_dict(value)
    assert (report.title_of("emojiqa"), older.title_of("emojiqa")) == ("EmojiQA", "emojiqa")


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_unknown_version_is_refused(report, version):
    value = report.to_dict() | {"schema": version}
    with pytest.raises(ArtifactError, match="schema"):
        Report.from_dict(value)


def test_newer_version_asks_for_an_update(report):
    with pytest.raises(ArtifactError, match="Update hydra-mobile"):
        Report.from_dict(report.to_dict() | {"schema": REPORT_SCHEMA + 1})


@pytest.mark.parametrize("value", [None, [], "report", {}])
def test_something_else_is_refused(value):
    with pytest.raises(ArtifactError):
        Report.from_dict(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("title"), "`title`"),
        (lambda v: v["systems"][2].pop("runtime"), r"systems\[2\]\.runtime"),
        (lambda v: v["systems"][1]["timings"]["encode"].pop("n"), r"timings\.encode\.n`"),
        (lambda v: v["systems"][0].update(preseT="x"), r"preseT`[\s\S]*`preset`"),
        (lambda v: v["systems"][0].update(size_bytes="big"), "size_bytes.*'big'"),
        (lambda v: v["systems"][0].update(size_bytes=True), "size_bytes.*True"),
        (lambda v: v["systems"][0].update(role="best"), "role.*'best'.*'reference'"),
        (lambda v: v["systems"][0].update(scores={}), "scores"),
        (lambda v: v.update(systems=None), "systems.*None"),
        (lambda v: v["training"]["loss"].append(["projector", 3]), r"loss\[\d+\].*2 items"),
        (lambda v: v["training"]["rank_map"].update(q="8"), r"rank_map\.q`.*'8'"),
        (lambda v: v["parity"][0].update(max_abs="wide"), r"parity\[0\]\.max_abs`.*'wide'"),
        (lambda v: v["systems"][1]["scores"][0].update(low=0.99), "interval"),
        (lambda v: v["systems"][2]["agreement"]["seen"].update(same=401), "401 same answers"),
        (lambda v: v.update(title=3), "title`.* 3"),
    ],
)
def test_wrong_fields_are_named(report, change, message):
    value = copy.deepcopy(report.to_dict())
    change(value)
    with pytest.raises(ArtifactError, match=message):
        Report.from_dict(value)


def test_damaged_file_is_named(report, tmp_path):
    path = write_report(report, tmp_path)[0]
    # One of a later version, and one that somebody edited.
    value = json.loads(path.read_text())
    del value["record_sha256"]
    path.write_text(json.dumps({**value, "schema": 9}))
    with pytest.raises(ArtifactError, match=r"report\.json.*version 9"):
        read_report(tmp_path)
    path = write_report(report, tmp_path)[0]
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 9'))
    with pytest.raises(ArtifactError, match=r"report\.json.*altered"):
        read_report(tmp_path)
    path = write_report(report, tmp_path)[0]
    path.write_text(path.read_text()[:-100])
    with pytest.raises(ArtifactError, match=r"report\.json.*JSON"):
        read_report(tmp_path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="missing"):
        read_report(tmp_path)


def test_not_finite_is_kept_apart_from_not_measured(report):
    row = ParityRow("broken", max_abs=math.inf, mean_abs=math.nan, cosine=None)
    text = json.dumps(replace(report, parity=(row,)).to_dict(), allow_nan=False)
    read = Report.from_dict(json.loads(text)).parity[0]
    assert read.max_abs == math.inf
    assert math.isnan(read.mean_abs)
    assert read.cosine is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/home/somebody/runs/bundle", "bundle"),
        ("~/runs/bundle", "bundle"),
        (r"C:\Users\somebody\bundle", "bundle"),
        ("runs/bundle", "runs/bundle"),
        ("bundle", "bundle"),
    ],
)
def test_artifact_never_holds_a_machine_path(given, kept):
    assert SystemResult("a", "torch", "fp32", artefact=given).artefact == kept


def test_with_system_adds_and_replaces(report):
    added = report.with_system(SystemResult("CoreML fp16", "coreml", "fp16"))
    assert [s.name for s in added.systems][-1] == "CoreML fp16"
    again = added.with_system(SystemResult("ONNX fp32", "onnx", "fp32", size_bytes=1))
    assert len(again.systems) == len(added.systems)
    assert again.systems[4].size_bytes == 1


def test_spread():
    assert Spread.of([]) is None
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0, 1)
    assert Spread.of([5, 1, 2, 4, 3]) == Spread(3, 2, 4, 5)


def test_reversed_interval_is_refused():
    with pytest.raises(ValueError, match="interval"):
        Score("emojiqa", "seen", "all", 0.5, 0.6, 0.4, 10)


def test_new_report_is_empty_and_writable(report, tmp_path):
    empty = new_report("Nothing yet", report.environment)
    assert empty.created.endswith("Z")
    write_report(empty, tmp_path)
    assert read_report(tmp_path) == empty


def test_a_folder_of_a_report_that_was_cut_short_is_ours(report, tmp_path, monkeypatch):
    # Wherever it stops, the same command may write there again; one that was there stays known.
    out = tmp_path / "out"
    for older in (False, True):
        for writes in range(3):
            shutil.rmtree(out, ignore_errors=True)
            if older:
                write_report(report, out)
            left = iter(range(writes))
            with monkeypatch.context() as patch:
                for place in (files, write):
                    patch.setattr(place, "write_atomically", interrupted_after(left))
                with pytest.raises(KeyboardInterrupt):
                    write_report(report, out)
            require_replaceable(out, MARKS["report"])
            write_report(report, out)
            assert read_report(out) == report


def interrupted_after(left):
    @contextlib.contextmanager
    def interrupted(path, **options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        with write_atomically(path, **options) as temporary:
            yield temporary

    return interrupted
