"""Pairs of answers and annotations of all six benchmarks, in every format the field writes.

Answers are written from the official files alone, and what they must score is computed here by a
plain transcription of the official rules, so that the product's readers and scorers are held to
something that shares no line with them.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from benchmark_tree import Layout, build_tree
from PIL import Image

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.shared.tab_separated import read_rows
from hydra_mobile.benchmarks.textvqa.m4c import normalize
from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.registry import resolve
from hydra_mobile.evaluation.results.score_file import Scored, score_answers

Lines = list[dict[str, Any]]
PICTURES = [Image.new("RGB", (4, 4), color) for color in ("red", "green", "blue")]
LAYOUTS: tuple[Layout, ...] = ("mobilevlm", "llava")
FOLDERS = {"mme": ("mme", "MME"), "scienceqa": ("sqa", "scienceqa")}
SHORT = "\nAnswer the question using a single word or phrase."
CHOICE = "\nAnswer with the option's letter from the given choices directly."
YES_NO = (
    "Yes", "No", "yes", "no", "", "No.", "NO", "Yes, it is.", "No, there is not", "not", "maybe",
    "I do not know", " no", "  yes", "No\nbecause", "know", "Nope", "none", "Yes\t no", "ne pas é",
    "n", "yes no", "There is no dog. Yes", "A. no", "N,o", "不", "no\u2028yes", "yes\r\n",
)  # fmt: skip
LETTERED = (
    "A", "B", "C", "D", "E", "A.", "B. blue", "C) 3", "(D)", "a", " A", "B\n", "red", "Blue ", "3",
    "a circle", "The answer is B.", "The answer is C", "The answer is A. The answer is B.", "Z",
    "", "I. think", "A. ", "E. e", "The answer is F!", "é", "(B) blue", "D.", "choice 1", "(A",
)  # fmt: skip


@pytest.fixture(scope="module", params=LAYOUTS)
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official tree without a single picture, its words beyond ASCII."""
    root = tmp_path_factory.mktemp(request.param)
    build_tree(root, PICTURES, questions=60, layout=request.param)
    for path in [*root.rglob("*.jpg"), *root.rglob("*.png")]:
        if path.is_file():
            path.unlink()
    for path in root.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".txt", ".tsv") and path.is_file():
            text = path.read_text(encoding="utf-8")
            text = text.replace(" thing", " thïng漢").replace(" picture ", " Bild ß ")
            path.write_text(text, encoding="utf-8")
    return root


def own(tree: Path, name: str) -> Path:
    return next(tree / f for f in FOLDERS.get(name, (name,)) if (tree / f).is_dir())


def protocol(tree: Path) -> str:
    return "mobilevlm" if tree.name.startswith("mobilevlm") else "llava-1.5"


def read_lines(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answer_line(number: Any, prompt: str, text: str) -> dict[str, Any]:
    return {
        "question_id": number,
        "prompt": prompt,
        "text": text,
        "answer_id": "x",
        "model_id": "m",
        "metadata": {},
    }


def as_they_came(lines: Lines) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def shuffled(lines: Lines) -> bytes:
    return as_they_came(random.Random(1).sample(lines, len(lines)))


def from_windows(lines: Lines) -> bytes:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\r\n" for line in lines)
    return b"\xef\xbb\xbf" + text.encode() + b"\r\n \r\n\r\n"


def ids_as_text(lines: Lines) -> bytes:
    return as_they_came([line | {"question_id": str(line["question_id"])} for line in lines])


def ids_as_numbers(lines: Lines) -> bytes:
    return as_they_came([line | {"question_id": number(line["question_id"])} for line in lines])


def as_a_list(lines: Lines) -> bytes:
    return json.dumps(lines, indent=1).encode()


def number(identity: Any) -> Any:
    return float(identity) if str(identity).isdecimal() and len(str(identity)) < 12 else identity


WRITERS: tuple[Callable[[Lines], bytes], ...] = (
    as_they_came, shuffled, from_windows, ids_as_text, ids_as_numbers, as_a_list,
)  # fmt: skip


@pytest.fixture(params=WRITERS, ids=lambda writer: writer.__name__)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Lines], Path]:
    def written(lines: Lines) -> Path:
        path = tmp_path / "model.jsonl"
        path.write_bytes(request.param(lines))
        return path

    return written


def texts(choices: Sequence[str], seed: int = 0) -> Iterator[str]:
    draw = random.Random(seed)
    while True:
        yield from draw.sample(choices, len(choices))


def scored(name: str, answers: Path, data: Path, tree: Path, **options: Any) -> Scored:
    return score_answers(name, answers, data, protocol=protocol(tree), **options)


def everywhere(name: str, answers: Path, tree: Path) -> Scored:
    """Score with the root and with the benchmark's own folder; both must say the same."""
    first, second = (scored(name, answers, data, tree) for data in (tree, own(tree, name)))
    assert first.scores == second.scores
    assert first.joined.complete
    return first


def value(result: Scored, split: str, kind: str) -> float:
    return next(s.value for s in result.scores if (s.name, s.kind) == (split, kind))


def headline(result: Scored) -> float:
    assert result.headline is not None
    return result.headline.value


# -- POPE ---------------------------------------------------------------------------------------


def pope_says_no(answer: str) -> bool:
    if answer.find(".") != -1:
        answer = answer.split(".")[0]
    words = answer.replace(",", "").split(" ")
    return "No" in words or "not" in words or "no" in words


def pope_f1(pairs: Sequence[tuple[str, str]]) -> float:
    true_positive = false_positive = false_negative = 0
    for label, answer in pairs:
        said = 0 if pope_says_no(answer) else 1
        true_positive += said == 1 and label == "yes"
        false_positive += said == 1 and label == "no"
        false_negative += said == 0 and label == "yes"
    precision = true_positive / (true_positive + false_positive)
    recall = true_positive / (true_positive + false_negative)
    return 2 * precision * recall / (precision + recall)


def pope_pair(tree: Path) -> tuple[dict[str, Lines], Lines, float]:
    """Return the annotations, LLaVA's answers, and the mean of the three F1."""
    folder, said = tree / "pope", texts(YES_NO)
    annotations = {
        split: read_lines(folder / "coco" / f"coco_pope_{split}.json")
        for split in ("random", "popular", "adversarial")
    }
    answers, pairs = [], {}
    for line in read_lines(folder / "llava_pope_test.jsonl"):
        text = next(said)
        answers.append(answer_line(line["question_id"], line["text"], text))
        place = line["question_id"] % 10_000_000
        label = annotations[line["category"]][place - 1]
        assert (label["image"], label["text"] + SHORT) == (line["image"], line["text"])
        pairs[line["category"], place] = label["label"], text
    means = [
        pope_f1([pair for (split, _), pair in pairs.items() if split == wanted])
        for wanted in annotations
    ]
    return annotations, answers, sum(means) / 3


def test_pope_llava(tree: Path, write: Callable[[Lines], Path]) -> None:
    _, answers, expected = pope_pair(tree)
    assert headline(everywhere("pope", write(answers), tree)) == pytest.approx(expected, abs=1e-9)


def test_pope_annotations_copied_into_lists(tree: Path, tmp_path: Path) -> None:
    _, answers, expected = pope_pair(tree)
    shutil.copytree(tree / "pope", tmp_path / "pope")
    for path in (tmp_path / "pope" / "coco").iterdir():
        path.write_bytes(as_a_list(read_lines(path)))
    path = tmp_path / "m.jsonl"
    path.write_bytes(shuffled(answers))
    result = score_answers("pope", path, tmp_path)
    assert headline(result) == pytest.approx(expected, abs=1e-9)


@pytest.fixture
def pope_official(tree: Path, tmp_path: Path) -> Path:
    """What POPE's evaluate.py takes: {question, answer} in the annotations' order, no picture."""
    annotations, answers, _ = pope_pair(tree)
    by_id = {answer["question_id"]: answer["text"] for answer in answers}
    first = {"adversarial": 0, "random": 10_000_000, "popular": 20_000_000}
    folder = tmp_path / "official"
    folder.mkdir()
    for split, lines in annotations.items():
        official = [
            {"question": line["text"], "answer": by_id[first[split] + line["question_id"]]}
            for line in lines
        ]
        (folder / f"m_coco_pope_{split}_answers.json").write_bytes(from_windows(official))
    return folder


def test_pope_official_tool(tree: Path, pope_official: Path) -> None:
    _, _, expected = pope_pair(tree)
    result = everywhere("pope", pope_official, tree)
    assert headline(result) == pytest.approx(expected, abs=1e-9)
    assert "annotations' order" in " ".join(result.notes)
    one = scored("pope", pope_official / "m_coco_pope_random_answers.json", tree, tree,
                 splits=("random",))  # fmt: skip
    assert value(one, "random", "f1") == pytest.approx(value(result, "random", "f1"), abs=1e-9)


@pytest.mark.parametrize("partial", [False, True])
def test_pope_official_tool_with_a_lost_line_or_another_order(
    tree: Path, pope_official: Path, partial: bool
) -> None:
    path = pope_official / "m_coco_pope_popular_answers.json"
    kept = path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip().split(b"\r\n")
    path.write_bytes(b"\r\n".join(kept[:4] + kept[5:]))
    with pytest.raises(DataError, match=r"19.* 20 .*popular.*answer 5"):
        scored("pope", pope_official, tree, tree, allow_partial=partial)
    path.write_bytes(b"\r\n".join([*kept, kept[-1]]))
    with pytest.raises(DataError, match=r"answer 21.*'Is there .*end"):
        scored("pope", pope_official, tree, tree, allow_partial=partial)
    path.write_bytes(b"\r\n".join(kept[::-1]))
    with pytest.raises(DataError, match=r"answer 1 .*order"):
        scored("pope", pope_official, tree, tree, allow_partial=partial)
    shutil.copy(path, path.with_suffix(".jsonl"))
    with pytest.raises(DataError, match=r"two files.*popular"):
        scored("pope", pope_official, tree, tree, allow_partial=partial)
    for file in pope_official.iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"folder.*POPE"):
        scored("pope", pope_official, tree, tree, allow_partial=partial)


@pytest.mark.parametrize("with_llavas_file", [False, True])
def test_pope_files_by_split_with_the_annotations_ids(
    tree: Path, tmp_path: Path, with_llavas_file: bool
) -> None:
    annotations, answers, expected = pope_pair(tree)
    by_id = {answer["question_id"]: answer["text"] for answer in answers}
    first = {"adversarial": 0, "random": 10_000_000, "popular": 20_000_000}
    everything: Lines = []
    for split, lines in annotations.items():
        some = [
            answer_line(line["question_id"], line["text"] + SHORT,
                        by_id[first[split] + line["question_id"]])
            for line in lines
        ]  # fmt: skip
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{split}.jsonl").write_bytes(shuffled(some))
        everything += [line | {"category": split} for line in some]
    data = tmp_path / "data"
    shutil.copytree(tree / "pope", data)
    if not with_llavas_file:
        (data / "llava_pope_test.jsonl").unlink()
    (tmp_path / "one.jsonl").write_bytes(shuffled(everything))
    for path in (tmp_path / "a", tmp_path / "one.jsonl"):
        result = scored("pope", path, data, tree)
        assert result.joined.complete
        assert headline(result) == pytest.approx(expected, abs=1e-9)


# -- MME ----------------------------------------------------------------------------------------


def mme_reads(response: str) -> str:
    response = response.lower()
    if response in ("yes", "no"):
        return response
    start = response[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def mme_release(tree: Path) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return (subtask, name without ending) -> its questions without suffix, and right answers."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for path in sorted((own(tree, "mme") / "MME_Benchmark_release_version").rglob("*.txt")):
        subtask = path.relative_to(own(tree, "mme")).parts[1]
        for line in path.read_text(encoding="utf-8").splitlines():
            question, truth = line.split("\t")
            question = re.sub(r"\s+Please answer yes or no\.$", "", question)
            found.setdefault((subtask, path.stem), []).append((question, truth))
    return found


def mme_pair(
    tree: Path,
) -> tuple[Lines, dict[str, list[tuple[str, str, str, str]]], float, float]:
    """Return LLaVA's answers, subtask -> rows of the official tool, and the two sums of points."""
    release, said = mme_release(tree), texts(YES_NO, 5)
    lines = read_lines(own(tree, "mme") / "llava_mme.jsonl")
    answers: Lines = []
    rows: dict[str, list[tuple[str, str, str, str]]] = {}
    right: dict[str, dict[str, list[bool]]] = {}
    for line in lines:
        subtask, name = line["image"].split("/")[0], Path(line["image"])
        question = line["text"].removesuffix(SHORT)
        truth = dict(release[subtask, name.stem])[question]
        text = next(said)
        answers.append(answer_line(line["question_id"], line["text"], text))
        cell = re.sub(r"[\r\n\t\u2028]", " ", text)
        asked = f"{question} Please answer yes or no."
        rows.setdefault(subtask, []).append((name.name, asked, truth, cell))
        is_right = mme_reads(text) == truth.lower()
        assert mme_reads(cell + "\n") == mme_reads(text)
        right.setdefault(subtask, {}).setdefault(name.stem, []).append(is_right)
    sums = {"perception": 0.0, "cognition": 0.0}
    for subtask, pictures in right.items():
        every = [one for pair in pictures.values() for one in pair]
        accuracy = 100 * sum(every) / len(every)
        plus = 100 * sum(all(pair) for pair in pictures.values()) / len(pictures)
        part = "cognition" if subtask == "code_reasoning" else "perception"
        sums[part] += accuracy + plus
    return answers, rows, sums["perception"], sums["cognition"]


def test_mme_llava(tree: Path, write: Callable[[Lines], Path]) -> None:
    answers, _, perception, cognition = mme_pair(tree)
    result = everywhere("mme", write(answers), tree)
    assert headline(result) == value(result, "perception", "all")
    assert headline(result) == pytest.approx(perception, abs=1e-9)
    assert value(result, "cognition", "all") == pytest.approx(cognition, abs=1e-9)
    assert 0 < cognition < 200
    assert 0 < perception < 600


@pytest.mark.parametrize("form", ["plain", "shuffled", "windows", "converter", "in the tool"])
def test_mme_folder_of_results(tree: Path, tmp_path: Path, form: str) -> None:
    _, rows, perception, cognition = mme_pair(tree)
    data = tmp_path / "data"
    shutil.copytree(tree, data, symlinks=True)
    folder = tmp_path / "Your_Results"
    if form == "in the tool":
        folder = own(data, "mme") / "eval_tool" / "Your_Results"
    folder.mkdir(parents=True)
    for subtask, some in rows.items():
        lines = some if form != "shuffled" else random.Random(2).sample(some, len(some))
        if form == "converter":
            # LLaVA's converter names the text file, not the picture.
            lines = [(str(Path(row[0]).with_suffix(".txt")), *row[1:]) for row in lines]
        text = "".join("\t".join(row) + "\n" for row in lines)
        content = text.encode()
        if form == "windows":
            content = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n\r\n"
        (folder / f"{subtask}.txt").write_bytes(content)
    for where in (data, own(data, "mme")):
        result = scored("mme", folder, where, tree)
        assert result.joined.complete
        assert headline(result) == pytest.approx(perception, abs=1e-9)
        assert value(result, "cognition", "all") == pytest.approx(cognition, abs=1e-9)


# -- GQA ----------------------------------------------------------------------------------------


def gqa_pair(tree: Path) -> tuple[Lines, Lines, dict[str, float]]:
    """Return LLaVA's answers, the official predictions, and accuracies in all, binary and open."""
    home = tree / "gqa" / ("data" if (tree / "gqa" / "data").is_dir() else "")
    official = json.loads((home / "testdev_balanced_questions.json").read_text())
    said = texts(
        ("blue", "Blue.", "blue..", "yes", "Yes", "YES.", "yes ", "table", "a table", "", ".",
         "the Table.", "Table", "no", "tablé", "yes, it is", "blue"), 3)  # fmt: skip
    answers, predictions = [], []
    right: dict[str, list[bool]] = {"all": [], "binary": [], "open": []}
    for line in read_lines(tree / "gqa" / "llava_gqa_testdev_balanced.jsonl"):
        text = next(said)
        answers.append(answer_line(line["question_id"], line["text"], text))
        prediction = text.rstrip(".").lower()
        predictions.append({"questionId": line["question_id"], "prediction": prediction})
        question = official[line["question_id"]]
        is_right = prediction == question["answer"]
        kind = "open" if question["types"]["structural"] == "query" else "binary"
        right["all"].append(is_right)
        right[kind].append(is_right)
    return answers, predictions, {name: sum(some) / len(some) for name, some in right.items()}


def test_gqa_llava(tree: Path, write: Callable[[Lines], Path]) -> None:
    answers, _, expected = gqa_pair(tree)
    result = everywhere("gqa", write(answers), tree)
    assert headline(result) == pytest.approx(expected["all"], abs=1e-9)
    for kind, share in expected.items():
        assert value(result, "all", kind) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("writer", [shuffled, from_windows, as_a_list], ids=lambda w: w.__name__)
def test_gqa_predictions(tree: Path, tmp_path: Path, writer: Callable[[Lines], bytes]) -> None:
    _, predictions, expected = gqa_pair(tree)
    path = tmp_path / "testdev_balanced_predictions.json"
    path.write_bytes(writer(predictions))
    result = everywhere("gqa", path, tree)
    assert headline(result) == pytest.approx(expected["all"], abs=1e-9)


# -- MMBench ------------------------------------------------------------------------------------


def mmbench_letter(answer: str, options: Sequence[str]) -> str | None:
    letters, text = "ABCD"[: len(options)], answer.strip()
    if text in list(letters):
        return text
    for letter in letters:
        if text.startswith((f"{letter}.", f"({letter})", f"{letter})")):
            return letter
    same = [n for n, option in enumerate(options) if option.strip().lower() == text.lower()]
    return letters[same[0]] if text and len(same) == 1 else None


def mmbench_pair(tree: Path) -> tuple[list[dict[str, str]], dict[str, str], dict[str, float]]:
    """Return the rows, index -> answer, and the three accuracies."""
    (table,) = (tree / "mmbench").glob("*.tsv")
    rows = [row.cells for row in read_rows(table)]
    draw, said = random.Random(4), texts(LETTERED, 4)
    answers, right, circles = {}, {}, {}
    for row in rows:
        options = [row[letter] for letter in "ABCD" if row[letter]]
        index = int(row["index"])
        # Mostly right, so that some questions are right in every rotation.
        text = row["answer"] if draw.random() < 0.8 else next(said)
        answers[row["index"]] = text
        right[index] = mmbench_letter(text, options) == row["answer"]
        circles.setdefault(index % 1_000_000, []).append(right[index])
    first = [is_right for index, is_right in right.items() if index < 1_000_000]
    return (
        rows,
        answers,
        {
            "circular": sum(map(all, circles.values())) / len(circles),
            "first pass": sum(first) / len(first),
            "per row": sum(right.values()) / len(right),
        },
    )


def test_mmbench_llava(tree: Path, write: Callable[[Lines], Path]) -> None:
    rows, answers, expected = mmbench_pair(tree)
    lines = []
    for row in rows:
        options = [row[letter] for letter in "ABCD" if row[letter]]
        asked = f"{row['hint']}\n{row['question']}" if row["hint"] else row["question"]
        asked = "\n".join([asked, *(f"{a}. {o}" for a, o in zip("ABCD", options, strict=False))])
        line = answer_line(int(row["index"]), asked, answers[row["index"]])
        more = {"round_id": 0, "options": options, "option_char": list("ABCD"[: len(options)])}
        lines.append(line | more)
    result = everywhere("mmbench", write(lines), tree)
    check_mmbench(result, expected)


def check_mmbench(result: Scored, expected: dict[str, float]) -> None:
    split = result.scores[0].name
    assert headline(result) == value(result, split, "circular")
    for kind, share in expected.items():
        assert value(result, split, kind) == pytest.approx(share, abs=1e-9)
    assert len({0.0, 1.0, *expected.values()}) == 5


def workbook(path: Path, table: Sequence[Sequence[str | int]], *, shared: bool) -> None:
    """Write a workbook as openpyxl does (texts in a table of their own), or as XlsxWriter may."""
    texts: dict[str, int] = {}
    body = []
    for number, row in enumerate(table, 1):
        cells = []
        for place, cell in enumerate(row):
            at = f"{'ABCDEFGHIJKLMNOPQRST'[place]}{number}"
            if cell == "":
                cells.append(f'<c r="{at}" s="1"/>' if place % 2 else "")
            elif isinstance(cell, int):
                cells.append(f'<c r="{at}" t="n"><v>{cell}</v></c>')
            elif shared:
                cells.append(f'<c r="{at}" t="s"><v>{texts.setdefault(cell, len(texts))}</v></c>')
            else:
                text = f'<t xml:space="preserve">{escape(cell)}</t>'
                cells.append(f'<c r="{at}" t="inlineStr"><is>{text}</is></c>')
        body.append(f'<row r="{number}" spans="1:9">{"".join(cells)}</row>')
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    items = "".join(f'<si><t xml:space="preserve">{escape(text)}</t></si>' for text in texts)
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{types}"><Override PartName="/xl/workbook.xml" '
            f'ContentType="{kind}.sheet.main+xml"/>'
            + (
                '<Override PartName="/xl/sharedStrings.xml" '
                f'ContentType="{kind}.sharedStrings+xml"/>'
            )
            * shared
            + "</Types>",
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook {main} xmlns:r="{office}"><sheets>'
            '<sheet name="Sheet1" sheetId="1" state="visible" r:id="rId1"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}"><Relationship Type="{office}/worksheet" '
            'Target="/xl/worksheets/sheet1.xml" Id="rId1"/></Relationships>',
        )
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {main}><sheetData>{''.join(body)}</sheetData></worksheet>",
        )
        if shared:
            archive.writestr("xl/sharedStrings.xml", f"<sst {main}>{items}</sst>")


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_mmbench_workbooks(tree: Path, tmp_path: Path, shared: bool, extra: bool) -> None:
    rows, answers, expected = mmbench_pair(tree)
    columns = ["index", "question", *"ABCD", "prediction", "answer", "split"]
    if extra:
        columns = ["", "hint", "category", *columns, "GPT opinion", "hit"]
        rows = random.Random(6).sample(rows, len(rows))
    table: list[list[str | int]] = [list(columns)]
    for place, row in enumerate(rows):
        made = row | {"prediction": answers[row["index"]], "": str(place), "hit": "1"}
        table.append(
            [int(row["index"]) if name == "index" else made.get(name, "") for name in columns]
        )
    path = tmp_path / "model.xlsx"
    workbook(path, [*table, []], shared=shared)
    result = everywhere("mmbench", path, tree)
    check_mmbench(result, expected)
    empty = sum(not text.strip() for text in answers.values())
    note = f"{empty} rows of {path.name} have an empty prediction, which is wrong"
    assert (note in result.notes) == (empty > 0)


def test_mmbench_beside_a_test_table_is_the_one_with_answers(tree: Path, tmp_path: Path) -> None:
    data = tmp_path / "mmbench"
    shutil.copytree(tree / "mmbench", data)
    (table,) = data.glob("*.tsv")
    (data / "mmbench_test_en.tsv").write_text("index\tquestion\tA\tB\n1\tq\ta\tb\n")
    _, answers, expected = mmbench_pair(tree)
    path = tmp_path / "answers.json"
    lines = [{"index": int(index), "prediction": text} for index, text in answers.items()]
    path.write_bytes(as_a_list(lines))
    for name in ("llava-1.5", "mobilevlm"):
        result = score_answers("mmbench", path, data, protocol=name)
        assert result.facts["files"] == [table.name]
        check_mmbench(result, expected)


# -- ScienceQA ----------------------------------------------------------------------------------


def scienceqa_reads(text: str) -> str:
    options = ["A", "B", "C", "D", "E"]
    if text in options:
        return text
    if len(text) >= 3 and text[0] in options and text[1:3] == ". ":
        return text[0]
    found = re.findall(r"The answer is ([A-Z]).", text)
    return found[0] if len(found) == 1 else "FAILED"


def scienceqa_pair(tree: Path) -> tuple[Lines, dict[str, Any], dict[str, Any], float, float]:
    """Return LLaVA's answers, its two analyzed files, and the accuracies in all and IMG."""
    folder, said = own(tree, "scienceqa"), texts(LETTERED, 7)
    problems = json.loads((folder / "problems.json").read_text())
    answers: Lines = []
    output: dict[str, Any] = {"correct": [], "incorrect": []}
    result: dict[str, Any] = {"acc": 0, "correct": 0, "count": 0, "results": {}, "outputs": {}}
    right: list[bool] = []
    of_images: list[bool] = []
    for record in json.loads((folder / "llava_test_CQM-A.json").read_text()):
        key, text = record["id"], next(said)
        prompt = record["conversations"][0]["value"] + CHOICE
        answers.append(answer_line(key, prompt, text))
        letter, problem = scienceqa_reads(text), problems[key]
        in_range = "ABCDE"[: len(problem["choices"])]
        index = in_range.index(letter) if letter in in_range else -1
        is_right = index == problem["answer"]
        right.append(is_right)
        if problem["image"]:
            of_images.append(is_right)
        output["correct" if is_right else "incorrect"].append(
            {
                "question_id": key,
                "parsed_ans": letter,
                "ground_truth": "ABCDE"[problem["answer"]],
                "question": prompt,
                "pred": text,
                "is_multimodal": "<image>" in prompt,
            }
        )
        # Older scripts guessed where nothing could be read; what they guessed must not count.
        result["results"][key] = problem["answer"] if letter == "FAILED" else index
        result["outputs"][key] = text
    return answers, output, result, sum(right) / len(right), sum(of_images) / len(of_images)


def test_scienceqa_llava(tree: Path, write: Callable[[Lines], Path]) -> None:
    answers, _, _, everything, images = scienceqa_pair(tree)
    result = everywhere("scienceqa", write(answers), tree)
    assert headline(result) == pytest.approx(images, abs=1e-9)
    assert value(result, "test", "all") == pytest.approx(everything, abs=1e-9)
    assert 0 < images != everything


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("which", ["output", "result"])
def test_scienceqa_analyzed_files(tree: Path, tmp_path: Path, which: str, mark: bytes) -> None:
    _, output, results, everything, images = scienceqa_pair(tree)
    name, content = {
        "output": ("m_output.jsonl", output),
        "result": ("m_result.json", results),
    }[which]
    path = tmp_path / name
    text = json.dumps(content, indent=2, ensure_ascii=False).replace("\n", "\r\n" if mark else "\n")
    path.write_bytes(mark + text.encode())
    result = everywhere("scienceqa", path, tree)
    assert headline(result) == pytest.approx(images, abs=1e-9)
    assert value(result, "test", "all") == pytest.approx(everything, abs=1e-9)


@pytest.mark.parametrize("which", ["output", "result"])
def test_scienceqa_missing_predictions_stay_in_the_denominator(
    tree: Path, tmp_path: Path, which: str
) -> None:
    answers, output, results, _, _ = scienceqa_pair(tree)
    lost = output["correct"].pop()["question_id"]
    output["incorrect"].append(
        {"question_id": lost, "parsed_ans": "FAILED", "question": "Unknown", "pred": "FAILED"}
    )
    results["outputs"][lost] = "FAILED"
    path = tmp_path / "m.json"
    path.write_text(json.dumps(output if which == "output" else results))
    with pytest.raises(DataError, match=rf"1 without.*\({lost}\)"):
        scored("scienceqa", path, tree, tree)
    result = scored("scienceqa", path, tree, tree, allow_partial=True)
    assert value(result, "test", "all") == pytest.approx(len(output["correct"]) / len(answers))
    assert result.joined.missing == (lost,)


def test_scienceqa_an_entry_without_an_id_is_named(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "m_output.jsonl"
    path.write_text(json.dumps({"correct": [{"pred": "A"}], "incorrect": []}))
    with pytest.raises(DataError, match=r"correct 1.*`question_id`"):
        scored("scienceqa", path, tree, tree)


# -- TextVQA ------------------------------------------------------------------------------------


def textvqa_plain(text: str) -> str:
    """Read what this module's answers need of the evaluator: no marks beyond full stops."""
    words = text.lower().replace(",", "").replace("?", "").strip().replace("\n", " ").split()
    words = [re.sub(r"\.(?!\d)", "", word) for word in words]
    digits = {"none": "0", "one": "1", "two": "2"}
    return " ".join(digits.get(word, word) for word in words if word not in ("a", "an", "the"))


def textvqa_worth(text: str, given: Sequence[str]) -> float:
    worth = []
    for place in range(10):
        others = [one for at, one in enumerate(given) if at != place]
        same = [one for one in others if textvqa_plain(one) == textvqa_plain(text)]
        worth.append(min(1, len(same) / 3))
    return sum(worth) / 10


def textvqa_pair(tree: Path) -> tuple[Lines, Lines, float]:
    """Return LLaVA's answers (ids of pictures), the official list, and the accuracy."""
    folder = tree / "textvqa"
    path = folder / "TextVQA_0.5.1_val.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    given = {"stop": "Stop", "here": "héré", "no": "One"}
    for entry in value["data"]:
        entry["answers"] = [given.get(one, one) for one in entry["answers"]]
    path.write_text(json.dumps(value), encoding="utf-8")
    by_question = {(e["image_id"], e["question"].lower()): e for e in value["data"]}
    answers, official, worth = [], [], []
    for number, line in enumerate(read_lines(folder / "llava_textvqa_val_v051_ocr.jsonl")):
        asked = line["text"].split("\n")[0].lower()
        entry = by_question[line["question_id"], asked]
        most = entry["answers"][0]
        text = (f"The {most.upper()}.", "a stop", "HÉRÉ", "one", "1", "", "x,y?", "stop\n")[
            number % 8
        ]
        answers.append(answer_line(line["question_id"], line["text"], text))
        official.append({"question_id": entry["question_id"], "answer": text})
        worth.append(textvqa_worth(text, entry["answers"]))
    assert {0.0, 0.3} < {round(one, 6) for one in worth} >= {1.0}
    return answers, official, sum(worth) / len(worth)


def test_textvqa_llava(tree: Path, write: Callable[[Lines], Path]) -> None:
    answers, _, expected = textvqa_pair(tree)
    assert len({answer["question_id"] for answer in answers}) < len(answers)
    result = everywhere("textvqa", write(answers), tree)
    assert headline(result) == pytest.approx(expected, abs=1e-9)
    assert not result.notes


def test_textvqa_official(tree: Path, write: Callable[[Lines], Path]) -> None:
    _, official, expected = textvqa_pair(tree)
    assert headline(everywhere("textvqa", write(official), tree)) == pytest.approx(expected)


def m4c(text: str) -> str:
    """Transcribe the evaluator without its contractions; its slips are kept."""
    marks = [*";/[]", '"', *"{}()=+\\_-><@`,?!"]
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    bare = text
    for mark in marks:
        if mark + " " in text or " " + mark in text or re.search(r"(\d)(,)(\d)", text) is not None:
            bare = bare.replace(mark, "")
        else:
            bare = bare.replace(mark, " ")
    bare = re.compile(r"(?!<=\d)(\.)(?!\d)").sub("", bare, 32)
    digits = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4"}
    digits |= {"five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
    words = [digits.get(word, word) for word in bare.lower().split()]
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def test_answers_are_made_comparable_as_the_m4c_evaluator_does() -> None:
    draw = random.Random(8)
    parts = [
        *'ab1.2, ?!;/[]"{}()=+\\_-><@`:é\n\t',
        "the ",
        "none",
        "'s ",
        " ten ",
        "...",
        "1,2",
        "A",
    ]
    for _ in range(4000):
        text = "".join(draw.choices(parts, k=draw.randint(0, 12)))
        assert normalize(text) == m4c(text), text
    assert normalize("." * 40 + "1.5.") == m4c("." * 40 + "1.5.")


# -- all ----------------------------------------------------------------------------------------

LLAVA: dict[str, Callable[[Path], Lines]] = {
    "pope": lambda tree: pope_pair(tree)[1],
    "mme": lambda tree: mme_pair(tree)[0],
    "gqa": lambda tree: gqa_pair(tree)[0],
    "scienceqa": lambda tree: scienceqa_pair(tree)[0],
    "textvqa": lambda tree: textvqa_pair(tree)[0],
}


@pytest.mark.parametrize("name", LLAVA)
def test_what_is_wrong_with_a_file_is_counted(name: str, tree: Path, tmp_path: Path) -> None:
    lines = LLAVA[name](tree)
    path = tmp_path / "m.jsonl"
    stranger = lines[0] | {"question_id": "posters/images/zz.jpg", "prompt": "Who?" + SHORT}
    path.write_bytes(shuffled([*lines[1:], lines[3], stranger]))
    wrong = "1 without an answer .*1 answered but unknown .*1 answered more than once"
    with pytest.raises(DataError, match=wrong) as refused:
        scored(name, path, tree, tree)
    assert f"{len(lines)} questions, {len(lines) + 1} answers" in str(refused.value)
    assert "--allow-partial" in str(refused.value)
    result = scored(name, path, tree, tree, allow_partial=True)
    assert set(result.to_dict()["problems"]) == {"missing", "unknown", "duplicate"}
    assert result.to_dict()["complete"] is False


@pytest.mark.parametrize("name", LLAVA)
def test_llavas_own_folders_are_found_from_above(name: str, tmp_path: Path) -> None:
    data = build_tree(tmp_path / "playground" / "data" / "eval", PICTURES, layout="llava")
    path = tmp_path / "m.jsonl"
    path.write_bytes(shuffled(LLAVA[name](data)))
    found = [
        headline(score_answers(name, path, where))
        for where in (tmp_path, tmp_path / "playground", data.parent, data)
    ]
    assert len(set(found)) == 1


def test_llavas_folder_of_merged_answers_is_read(tree: Path, tmp_path: Path) -> None:
    answers, _, expected = gqa_pair(tree)
    # The parts that several GPUs answered lie beside what they were joined to.
    (tmp_path / "2_0.jsonl").write_bytes(shuffled(answers[:30]))
    (tmp_path / "merge.jsonl").write_bytes(shuffled(answers))
    assert headline(everywhere("gqa", tmp_path, tree)) == pytest.approx(expected["all"], abs=1e-9)


BROKEN_ANSWERS = {
    "empty.jsonl": b"",
    "mark.jsonl": b"\xef\xbb\xbf",
    "list.json": b"[]",
    "object.json": b"{}",
    "number.json": b"3",
    "strings.json": b'["a"]',
    "lists.json": b"[[1]]",
    "deep.json": b"[" * 100_000,
    "binary.jsonl": bytes(range(256)),
    "empty.xlsx": b"",
    "cut.xlsx": b"PK\x03\x04junk",
    "header.tsv": b"index\tprediction\n",
    "cut.csv": b"index,prediction\n1",
    "null.jsonl": b'{"question_id": null, "text": null, "prompt": null}\n',
    "objects.jsonl": b'{"question_id": {"a": 1}, "text": ["x"], "prompt": 3}\n',
    "nan.jsonl": b'{"question_id": NaN, "text": "Yes", "prompt": "q"}\n',
    "counts.json": b'{"correct": 3}',
    "ones.json": b'{"correct": [1], "incorrect": null}',
    "nulls.json": b'{"outputs": {"5": null}}',
    "existence.txt": b"a\tb\tYes\tno\n",
}


@pytest.mark.parametrize("name", [*LLAVA, "mmbench"])
@pytest.mark.parametrize("partial", [False, True])
def test_broken_answers_are_refused_with_a_message(
    name: str, partial: bool, tree: Path, tmp_path: Path
) -> None:
    for file, content in BROKEN_ANSWERS.items():
        path = tmp_path / file
        path.write_bytes(content)
        with pytest.raises(HydraError) as refused:
            scored(name, path, tree, tree, allow_partial=partial)
        assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("name", [*LLAVA, "mmbench"])
def test_broken_official_files_never_end_in_a_traceback(name: str, tmp_path: Path) -> None:
    data = build_tree(tmp_path / "eval", PICTURES, questions=6, layout="llava")
    refused: list[str] = []

    def attempt(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        try:
            resolve("benchmark", name, BENCHMARKS)(data).samples()
        except HydraError as error:
            refused.append(str(error))

    files = [path for path in own(data, name).rglob("*") if path.suffix not in (".jpg", ".png")]
    for path in (path for path in files if path.is_file()):
        raw = path.read_bytes()
        for cut in (0, len(raw) // 3, len(raw) - 3):
            attempt(path, raw[:cut])
        attempt(path, raw.replace(b"e", b"\xff", 1))
        if path.suffix in (".json", ".jsonl"):
            for broken in mutated(raw.decode()):
                attempt(path, broken)
        path.write_bytes(raw)
    assert len(refused) >= 3
    assert all(str(data) in message for message in refused)


def mutated(text: str) -> Iterator[bytes]:
    """Yield a JSON or jsonl file with its first record, or a field of it, missing or odd."""
    lines = text.splitlines()
    whole = [json.loads(line) for line in lines] if len(lines) > 1 else json.loads(text)
    records = whole["data"] if isinstance(whole, dict) and "data" in whole else whole
    first = 0 if isinstance(records, list) else next(iter(records))
    good = records[first]
    odd = (None, 3, "", [], {}, [None], True)
    changes = [*odd]
    if isinstance(good, dict):
        changes += [good | {name: value} for name in good for value in odd]
        changes += [{n: v for n, v in good.items() if n != name} for name in good]
    for change in changes:
        records[first] = change
        written = "\n".join(map(json.dumps, whole)) if len(lines) > 1 else json.dumps(whole)
        yield written.encode()
    records[first] = good
