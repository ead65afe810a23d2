import base64
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from benchmark_tree import SIX, build_tree, right_answers
from PIL import Image
from typer.testing import CliRunner

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.checks.base64_table import TableRow, rows_of, write_table
from hydra_mobile.benchmarks.mmbench.benchmark import MMBench
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.shared.tab_separated import Row, read_columns, read_rows
from hydra_mobile.cli.main import app
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.registry import resolve

PICTURES = [
    Image.effect_noise((20, 12), 90),
    *(Image.new("RGB", (9, 7), c) for c in ("red", "tan")),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tree(tmp_path_factory.mktemp("llava"), PICTURES, layout="llava")


def made(name: str, data: Path) -> Benchmark:
    benchmark: Benchmark = resolve("benchmark", name, BENCHMARKS)(data)
    return benchmark


def written(name: str, tree: Path, out: Path, *options: str) -> tuple[Benchmark, list[Row]]:
    arguments = ["benchmarks", "table", name, "--data", str(tree), "--out", str(out), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return made(name, tree), list(read_rows(out))


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("name", SIX)
def test_questions_answers_and_pictures_come_back(
    name: str, share: bool, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table.tsv"
    benchmark, rows = written(name, tree, out, *(["--share-pictures"] if share else []))
    samples = benchmark.samples()
    assert len({row.cells["index"] for row in rows}) == len(rows) == len(samples)
    by_index = {row.cells["index"]: row for row in rows}
    pointing = 0
    for sample, row in zip(samples, rows, strict=True):
        letters = [row.cells[letter] for letter in "ABCDE" if row.cells.get(letter)]
        if letters:
            hint = row.cells["hint"]
            context = ("Context: " if name == "scienceqa" else "") + hint + "\n" if hint else ""
            lettered = [f"{a}. {text}" for a, text in zip("ABCDE", letters, strict=False)]
            asked = "\n".join([context + row.cells["question"], *lettered])
        else:
            asked = row.cells["question"].removesuffix(" Please answer yes or no.")
        assert asked == sample.question
        if name == "textvqa":
            assert json.loads(row.cells["answer"]) == sample.meta["answers"]
        else:
            assert row.cells["answer"].lower() == sample.reference.lower()
        text = row.cells["image"]
        if sample.image is None:
            assert text == ""
            continue
        if len(text) <= 64:
            pointing += 1
            text = by_index[text].cells["image"]
        content = base64.b64decode(text, validate=True)
        if isinstance(sample.image, FilePicture):
            assert content == sample.image.path.read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.convert("RGB").tobytes() == sample.image.open().tobytes()
    pictures = [sample.image.key for sample in samples if sample.image is not None]
    assert pointing == (len(pictures) - len(set(pictures)) if share else 0)


@pytest.mark.parametrize("name", ["pope", "mme", "gqa", "scienceqa", "textvqa"])
def test_names_of_pictures_are_theirs_alone(name: str, tree: Path, tmp_path: Path) -> None:
    benchmark, rows = written(name, tree, tmp_path / "table.tsv")
    pictures: dict[str, set[str]] = {}
    for sample, row in zip(benchmark.samples(), rows, strict=True):
        if sample.image is not None:
            pictures.setdefault(row.cells["image_path"], set()).add(sample.image.key)
    assert len(pictures) >= 2
    assert {len(keys) for keys in pictures.values()} == {1}


def test_columns_are_those_the_benchmark_has(tree: Path, tmp_path: Path) -> None:
    columns = {}
    for name in SIX:
        written(name, tree, tmp_path / f"{name}.tsv")
        columns[name] = read_columns(tmp_path / f"{name}.tsv")
    short = ["index", "question", "answer", "category", "image", "image_path"]
    assert columns["pope"] == columns["mme"] == columns["gqa"] == columns["textvqa"] == short
    assert columns["scienceqa"] == [
        *("index", "question", "hint", "A", "B", "C", "D", "E"),
        *("answer", "category", "image", "image_path"),
    ]
    assert columns["mmbench"] == [
        *("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image"),
        *("source", "l2-category", "split"),
    ]


def test_what_vlmevalkit_pairs_and_compares_by_is_there(tree: Path, tmp_path: Path) -> None:
    _, rows = written("mme", tree, tmp_path / "mme.tsv")
    pairs: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        place = row.cells["category"], row.cells["image_path"]
        pairs.setdefault(place, []).append(row.cells["answer"])
    assert {tuple(pair) for pair in pairs.values()} == {("Yes", "No")}
    _, rows = written("pope", tree, tmp_path / "pope.tsv", "--splits", "popular")
    assert {row.cells["category"] for row in rows} == {"popular"}
    assert {row.cells["answer"] for row in rows} == {"Yes", "No"}


@pytest.mark.parametrize("share", [False, True])
def test_mmbench_scores_the_same_from_the_table(share: bool, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.tsv"
    first, _ = written("mmbench", tree, out, *(["--share-pictures"] if share else []))
    again = MMBench(out)
    before, after = first.samples(), again.samples()
    assert [first.prompt(s) for s in before] == [again.prompt(s) for s in after]
    answers = right_answers(before) | {before[3].key: "none of them", before[5].key: "(B) so"}
    known = [(s.kind, s.value, s.low, s.high, s.n) for s in first.score(before, answers)]
    assert 0 < known[0][1] < 1
    assert [(s.kind, s.value, s.low, s.high, s.n) for s in again.score(after, answers)] == known
    # Written once more, it is the same file.
    written("mmbench", out, tmp_path / "third.tsv", *(["--share-pictures"] if share else []))
    assert (tmp_path / "third.tsv").read_bytes() == out.read_bytes()


def test_several_pictures_are_a_json_list_and_are_not_read(tree: Path, tmp_path: Path) -> None:
    (one, other) = {s.image for s in made("gqa", tree).samples()[:4] if s.image is not None}
    cells = {"index": "1", "question": "Which?", "A": "this", "B": "that", "answer": "A"}
    rows = [
        TableRow(cells | {"image_path": '["1.jpg", "2.jpg"]'}, (one, other)),
        TableRow(cells | {"index": "2", "image_path": "1.jpg"}, (one,)),
    ]
    out = tmp_path / "mmbench_made.tsv"
    assert write_table(out, rows) == 0
    both = json.loads(next(iter(read_rows(out))).cells["image"])
    assert [base64.b64decode(text) for text in both] == [one.content(), other.content()]
    with pytest.raises(DataError, match=r"index 1: .*`image`.*list.* 2 "):
        MMBench(out).samples()


@pytest.mark.parametrize("form", ['["{}"]', "['{}']", ' [ "{}" ] ', '["{}",]'])
def test_a_list_of_one_picture_is_that_picture(form: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PICTURES[0].save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    quoted = '"' + form.format(text).replace('"', '""') + '"' if '"' in form else form.format(text)
    path = tmp_path / "mmbench_made.tsv"
    header = "index\tquestion\tA\tB\tanswer\timage\n"
    path.write_text(f"{header}1\tq\ta\tb\tA\t{quoted}\n2\tq\ta\tb\tA\t{text}\n3\tq\ta\tb\tA\t[]\n")
    one, bare, empty = MMBench(path).samples()
    assert one.image is not None
    # The picture alone and in a list is one picture.
    assert one.image == bare.image
    assert one.image.content() == buffer.getvalue()
    assert one.image.open().tobytes() == PICTURES[0].convert("RGB").tobytes()
    assert empty.image is not None
    assert not empty.image.exists()
    path.write_text(f"{header}1\tq\ta\tb\tA\t[{text}\n")
    with pytest.raises(DataError, match="list"):
        MMBench(path).samples()


def test_questions_without_pictures_can_be_left_out(tree: Path, tmp_path: Path) -> None:
    _, rows = written("scienceqa", tree, tmp_path / "all.tsv")
    assert (len(rows), sum(not row.cells["image"] for row in rows)) == (12, 6)
    _, rows = written("scienceqa", tree, tmp_path / "some.tsv", "--only-pictures")
    assert (len(rows), sum(not row.cells["image"] for row in rows)) == (6, 0)


def test_a_missing_or_broken_picture_leaves_no_table(tmp_path: Path) -> None:
    tree = build_tree(tmp_path / "data", PICTURES)
    benchmark = made("gqa", tree)
    samples = benchmark.samples()
    image = samples[-1].image
    assert isinstance(image, FilePicture)
    image.path.write_text("no picture")
    out = tmp_path / "gqa.tsv"
    with pytest.raises(DataError, match=rf"{image.path.name}"):
        write_table(out, rows_of(benchmark, samples))
    image.path.unlink()
    with pytest.raises(DataError, match=rf"{image.path.name}.*No such file"):
        write_table(out, rows_of(benchmark, samples))
    with pytest.raises(DataError, match="no questions"):
        write_table(out, [])
    with pytest.raises(DataError, match="splits"):
        rows_of(benchmark, [*samples, samples[0]])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_memory_stays_flat_however_many_rows(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((300, 300), 90).save(path)
    size = path.stat().st_size
    rows = [TableRow({"index": str(n), "question": "?"}, (FilePicture(path),)) for n in range(200)]
    seen: list[int] = []
    tracemalloc.start()
    write_table(tmp_path / "t.tsv", rows, progress=lambda done, total, what: seen.append(done))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == list(range(1, 201))
    assert (tmp_path / "t.tsv").stat().st_size > 200 * size
    assert peak < 20 * size
