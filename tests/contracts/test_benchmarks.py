"""What every registered benchmark promises; a new one is tested by its line in `BENCHMARKS`.

It needs data to be tested with: a function in `BUILDERS` of tests/support/benchmark_tree.py. The
toy benchmark is registered here alone; it shows that what a new one needs is one short class.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from benchmark_tree import BUILDERS, PICTURES, Builder
from toy_benchmark import LINE, colors

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.core.errors import ConfigError, DataError, HydraError

TOY = "colors"
BUILD: Mapping[str, Builder] = {**BUILDERS, TOY: colors}
NAMES = [*BENCHMARKS, TOY]
#: An answer with everything that breaks a line or a cell.
ODD = '=Yes,\t"no"\r\nor <b>\x07 \u2028 maybe.'


@pytest.fixture(scope="module", autouse=True)
def _toy() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BENCHMARKS, TOY, LINE)
        yield


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def root(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the benchmark's own folder in it."""
    root = tmp_path_factory.mktemp("data")
    assert name in BUILD, f"{name} has no made-up data: BUILDERS of tests/support/benchmark_tree.py"
    BUILD[name](root / folder_of(name), PICTURES, 24)
    return root


@pytest.fixture
def benchmark(name: str, root: Path) -> Benchmark:
    return Benchmark.open(name, root)


@pytest.fixture
def samples(benchmark: Benchmark) -> list[Sample]:
    return benchmark.samples()


def folder_of(name: str) -> str:
    return next(iter(Benchmark.named(name).folders), name)


def right(samples: Sequence[Sample]) -> dict[str, str]:
    return {sample.key: sample.reference for sample in samples}


def headline(benchmark: Benchmark, samples: Sequence[Sample], answers: Mapping[str, str]) -> float:
    (found,) = [s for s in benchmark.score(samples, answers, partial=True) if s.headline]
    assert found.low <= found.value <= found.high
    assert 1 <= found.n <= len(samples)
    return found.value


def write(path: Path, answers: Sequence[tuple[str, str]]) -> Path:
    lines = [json.dumps({"key": key, "text": text}) + "\n" for key, text in answers]
    path.write_text("".join(lines), encoding="utf-8")
    return path


# -- what is known about the name --------------------------------------------------------------


def test_the_class_tells_all_about_its_name(name: str) -> None:
    kind = Benchmark.named(name)
    assert kind.name == name
    assert kind.title.lower() == name
    for text in (kind.about, kind.primary, kind.source):
        assert text.strip() == text
        assert text
    assert kind.licenses
    assert all(kind.licenses.values())
    assert kind.max_new_tokens > 0
    assert {"llava-1.5", "lmms-eval"} & set(kind.protocols)


def test_a_wrong_name_or_protocol_is_told_with_the_right_ones(name: str, root: Path) -> None:
    known = Benchmark.named(name).protocols[0]
    with pytest.raises(HydraError, match=rf"(?s)`{name}x`.*`{name}`"):
        Benchmark.open(f"{name}x", root)
    with pytest.raises(ConfigError, match=rf"(?s){name}.*`llava`.*{known}"):
        Benchmark.open(name, root, "llava")


# -- questions -----------------------------------------------------------------------------------


def test_questions_have_keys_of_their_own_and_pictures_beside_each_other(
    benchmark: Benchmark, samples: list[Sample]
) -> None:
    assert samples
    assert max(Counter(sample.key for sample in samples).values()) == 1
    for split in {sample.split for sample in samples}:
        pictures = [s.image.key for s in samples if s.split == split and s.image is not None]
        runs = [key for n, key in enumerate(pictures) if n == 0 or pictures[n - 1] != key]
        assert len(runs) == len(set(runs)), "a picture would be encoded twice"
    for sample in samples:
        assert sample.split in benchmark.splits()
        assert sample.question.strip()
        assert benchmark.prompt(sample).endswith(benchmark.suffix)
        assert set(benchmark.table_cells(sample)) <= set(benchmark.columns)
        if sample.image is not None:
            assert sample.image.exists()
            assert sample.image.open().mode == "RGB"
            assert sample.image.content()


def test_reading_again_gives_the_same(name: str, root: Path, samples: list[Sample]) -> None:
    assert Benchmark.open(name, root).samples() == samples


def test_the_folder_may_be_the_root_or_its_own(
    name: str, root: Path, samples: list[Sample]
) -> None:
    own = Benchmark.open(name, root / folder_of(name))
    assert [s.key for s in own.samples()] == [s.key for s in samples]


def test_missing_files_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        Benchmark.open(name, tmp_path / "nowhere").samples()
    empty = Benchmark.open(name, tmp_path)
    required = [file.path.name for file in empty.files() if file.required]
    assert required
    with pytest.raises(DataError) as caught:
        empty.samples()
    assert any(file in str(caught.value) for file in required)
    assert caught.value.fix


def test_required_files_are_found_and_counted(benchmark: Benchmark) -> None:
    for file in benchmark.files():
        assert file.path.exists() or not file.required
        if file.count is not None and file.path.exists():
            assert file.count() > 0


def test_an_unknown_split_is_told_with_the_known_ones(benchmark: Benchmark) -> None:
    known = benchmark.splits()[0]
    with pytest.raises(DataError, match=rf"(?s)`{known}x`.*{known}"):
        benchmark.samples(splits=[f"{known}x"])


@pytest.mark.parametrize("limit", [2, 5, 8, 11])
def test_a_limit_keeps_whole_pictures_in_order(
    benchmark: Benchmark, samples: list[Sample], limit: int
) -> None:
    for split in dict.fromkeys(sample.split for sample in samples):
        whole = [sample for sample in samples if sample.split == split]
        kept = benchmark.samples(splits=[split], limit=limit)
        assert kept == [sample for sample in whole if sample in kept]
        clusters = {sample.cluster for sample in kept}
        # "About" so many: where kinds keep their shares, each may be rounded up.
        kinds = {sample.kind for sample in kept}
        assert len(kept) < limit + len(kinds) or len(clusters) == 1
        assert [s for s in whole if s.cluster in clusters] == kept
    everything = benchmark.samples(limit=10_000)
    assert everything == samples


# -- answers -------------------------------------------------------------------------------------


def test_right_answers_score_best_and_empty_ones_no_more_than_a_constant(
    benchmark: Benchmark, samples: list[Sample]
) -> None:
    best = benchmark.score(samples, right(samples))
    assert {s.value for s in best if s.unit == "share" and s.kind != "yes ratio"} == {1.0}
    assert all(benchmark.is_correct(s, s.reference) for s in samples if s.reference)
    assert {benchmark.credit(s, s.reference) for s in samples if s.reference} == {1.0}
    (top,) = [score for score in best if score.headline]
    empty = headline(benchmark, samples, dict.fromkeys(right(samples), ""))
    assert empty <= (top.majority or 0.0) + 1e-9
    assert empty < top.value
    json.dumps([benchmark.details(samples, right(samples)), benchmark.protocol_facts()])


def test_no_answer_is_lost_or_doubled_without_a_word(
    benchmark: Benchmark, samples: list[Sample], tmp_path: Path
) -> None:
    first, second, *_ = answers = list(right(samples).items())
    path = write(tmp_path / "answers.jsonl", [*answers[1:], second, ("stray", "x")])
    problems = benchmark.join(path, samples).problems
    assert {kind: len(found) for kind, found in problems.items()} == {
        "missing": 1, "unknown": 1, "duplicate": 1
    }  # fmt: skip
    assert problems["missing"] == (first[0],)
    with pytest.raises(DataError, match="1 without"):
        benchmark.read_answers(path, samples)
    assert benchmark.read_answers(path, samples, allow_partial=True) == dict(answers[1:])
    with pytest.raises(DataError, match="1 without"):
        benchmark.metrics(samples, dict(answers[1:]))
    with pytest.raises(DataError, match=r"1 .*unknown"):
        benchmark.metrics(samples, dict(answers) | {"stray": "x"})


def test_a_broken_line_is_named_by_number(
    benchmark: Benchmark, samples: list[Sample], tmp_path: Path
) -> None:
    path = write(tmp_path / "answers.jsonl", list(right(samples).items()))
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, second[:9] + "\n", *rest]))
    with pytest.raises(DataError, match=r"answers\.jsonl, line 2"):
        benchmark.join(path, samples)
    path.write_text("".join([first, "7\n", *rest]))
    with pytest.raises(DataError, match=r"answers\.jsonl, line 2"):
        benchmark.join(path, samples)


def test_own_submission_is_read_back_to_the_same_score(
    benchmark: Benchmark, samples: list[Sample], tmp_path: Path
) -> None:
    said = {s.key: s.reference if n % 3 else "nothing" for n, s in enumerate(samples)}
    files = benchmark.write_submission(samples, said, tmp_path, "some model/v1.5")
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(files)
    for file in files:
        joined = benchmark.join(file.parent if file.suffix == ".txt" else file, samples)
        # A file of one split answers that split; none may answer wrongly or twice.
        assert set(joined.problems) <= {"missing"}, file
        there = [sample for sample in samples if sample.key in joined.answers]
        assert there
        again = benchmark.score(there, joined.answers)
        assert again == benchmark.score(there, {s.key: said[s.key] for s in there}), file
    whole = benchmark.read_answers(files[0], samples)
    assert whole == said


def test_odd_answers_survive(benchmark: Benchmark, samples: list[Sample], tmp_path: Path) -> None:
    said = dict.fromkeys(right(samples), ODD)
    for file in benchmark.write_submission(samples, said, tmp_path, "m"):
        if file.suffix in (".jsonl", ".xlsx"):
            assert benchmark.read_answers(file, samples) == said, file


def test_the_same_answers_are_the_same_file(
    benchmark: Benchmark, samples: list[Sample], tmp_path: Path
) -> None:
    one, other = (
        benchmark.write_submission(samples, right(samples), tmp_path / folder, "m")
        for folder in ("one", "other")
    )
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]
