"""The benchmark MME: two yes/no questions about each of 1187 pictures, in 14 subtasks.

Questions come from LLaVA's file or from the release, right answers from the release or from files
of the official tool. The headline is perception, at most 2000 points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra_mobile.errors import DataError
from hydra_mobile.evaluation.benchmarks.answer_files import read_records
from hydra_mobile.evaluation.benchmarks.base import (
    SHORT_ANSWER,
    Benchmark,
    DataFile,
    Joined,
    Joiner,
    Metric,
    Sample,
    check_complete,
)
from hydra_mobile.evaluation.benchmarks.choosing import chosen_splits, limited
from hydra_mobile.evaluation.benchmarks.folders import Places
from hydra_mobile.evaluation.benchmarks.mme_files import (
    PERCEPTION,
    QUESTIONS,
    Asked,
    Place,
    find_picture,
    has_results,
    is_release,
    place_of,
    read_questions,
    read_release,
    read_results,
)
from hydra_mobile.evaluation.benchmarks.mme_scores import accuracies, points, read_answer
from hydra_mobile.evaluation.benchmarks.official_files import write_mme
from hydra_mobile.evaluation.benchmarks.pictures import FilePicture

_ASKED = "llava_mme.jsonl"
_RELEASE = "MME_Benchmark_release_version"
_SPLITS = ("perception", "cognition")
_RESULTS = (
    "eval_tool/Your_Results",
    "Your_Results",
    f"{_RELEASE}/eval_tool/Your_Results",
    "eval_tool/LaVIN",
)


class Mme(Benchmark):
    """Yes/no questions of the splits perception and cognition; the kinds are the subtasks."""

    name = "mme"
    max_new_tokens = 128

    def __init__(self, data: Path, protocol: str = "llava-1.5") -> None:
        super().__init__(data, protocol)
        self.places = Places(data, ("mme", "MME"))
        self._answers: Path | None = None

    # -- questions --------------------------------------------------------------------------

    def samples(self, *, splits: Sequence[str] = (), limit: int | None = None) -> list[Sample]:
        """Return the questions, both of a picture beside each other; see `Benchmark.samples`."""
        chosen = chosen_splits(self.name, splits, _SPLITS)
        truth, asked = self._truth(), self._asked
        lacking = [
            one.place.key for one in asked if one.place not in truth and _split(one.place) in chosen
        ]
        independent = self._independent
        if lacking and independent:
            raise DataError(
                f"{len(lacking)} of {len(asked)} questions of {_ASKED} have no right answer in "
                f"{self._truth_source()}, for example {lacking[0]}.",
                "The release is cut short; download it again.",
            )
        by_place = {one.place: one for one in asked}
        # Results are no questions where the questions are known: what is not among them is unknown.
        everything = dict.fromkeys([*by_place, *truth] if independent or not asked else by_place)
        pictures: dict[str, list[Sample]] = {}
        for place in everything:
            sample = self._sample(place, truth.get(place, ""), by_place.get(place))
            pictures.setdefault(sample.cluster, []).append(sample)
        if independent:
            self._require_pairs(pictures)
        ordered = [sample for pair in pictures.values() for sample in pair]
        return [
            sample
            for split in chosen
            for sample in limited([one for one in ordered if one.split == split], limit)
        ]

    def prompt(self, sample: Sample) -> str:
        """Return the question as LLaVA's file has it, suffix included."""
        return str(sample.meta["prompt"])

    def answers_at(self, path: Path) -> None:
        """Take right answers from the official tool's results, which hold them, if need be."""
        self._answers = path

    def files(self) -> list[DataFile]:
        """Return LLaVA's questions and the release, or what stands in for it."""
        pictures = self._release or self.places.expected(_RELEASE)
        source = self._truth_source() or self.places.expected(_RELEASE)
        return [
            DataFile(
                self.places.find(_ASKED) or self.places.expected(_ASKED),
                "LLaVA's questions",
                required=False,
                count=lambda: len(self._asked),
                official=(sum(QUESTIONS.values()),),
            ),
            DataFile(
                source,
                "questions and right answers, in the folders of the 14 subtasks",
                required=True,
                count=lambda: len(self._truth()),
                official=(sum(QUESTIONS.values()),),
            ),
            DataFile(pictures, "pictures", required=False),
        ]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        files = {_ASKED: len(self._asked)} if self._asked else {}
        if source := self._truth_source():
            files[source.name] = len(self._truth())
        count, whole = max(files.values(), default=0), sum(QUESTIONS.values())
        part = f"{count} of MME's {whole} questions: not the whole benchmark"
        return super().protocol_facts() | {
            "suffix": SHORT_ANSWER,
            "padding": "mean colour, to a square",
            "files": files,
            "notes": [part] if count != whole else [],
        }

    @cached_property
    def _asked(self) -> list[Asked]:
        path = self.places.find(_ASKED)
        return read_questions(path) if path else []

    @cached_property
    def _release(self) -> Path | None:
        for name in (_RELEASE, "images", "MME_Benchmark", ""):
            for folder in self.places.folders:
                if is_release(folder / name):
                    return folder / name
        return None

    @cached_property
    def _release_truth(self) -> dict[Place, str]:
        """The right answers of the release; none where it has its pictures alone."""
        return read_release(self._release) if self._release else {}

    def _truth_source(self) -> Path | None:
        """Return what the right answers are read from: release, template, or the answers."""
        if self._release and self._release_truth:
            return self._release
        for name in (*_RESULTS, ""):
            for folder in self.places.folders:
                if has_results(folder / name):
                    return folder / name
        return self._answers if self._answers and not self._is_lines(self._answers) else None

    @property
    def _independent(self) -> bool:
        """Whether the right answers stand somewhere else than in the answers file."""
        source = self._truth_source()
        return not (source and self._answers and source.resolve() == self._answers.resolve())

    def _truth(self) -> dict[Place, str]:
        source = self._truth_source()
        if source is None:
            raise DataError(
                f"{self.data} holds no right answers of MME: neither {_RELEASE} with its "
                "text files nor eval_tool/Your_Results is there.",
                "Give the folder `mme` (LLaVA: `MME`) with the release in it.",
            )
        if source == self._release:
            return self._release_truth
        return {result.place: result.truth for result in read_results(source)}

    def _sample(self, place: Place, truth: str, asked: Asked | None) -> Sample:
        release = self._release or self.places.expected(_RELEASE)
        path = release / asked.image if asked else find_picture(release, place)
        return Sample(
            key=place.key,
            image=FilePicture(path),
            question=place.question,
            split=_split(place),
            kind=place.subtask,
            reference=truth,
            cluster=place.picture,
            meta={"prompt": asked.text if asked else place.question + SHORT_ANSWER},
        )

    def _require_pairs(self, pictures: Mapping[str, Sequence[Sample]]) -> None:
        odd = [name for name, pair in pictures.items() if len(pair) != 2]
        if odd:
            raise DataError(
                f"{len(odd)} pictures of MME in {self.data} have not 2 questions, for example "
                f"{odd[0]}: {len(pictures[odd[0]])}.",
                f"{_ASKED} or the release is cut short, or of different versions.",
            )

    # -- answers ----------------------------------------------------------------------------

    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether the answer, read by the official rule, is right."""
        return read_answer(answer) == sample.reference

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Join LLaVA's answers or the official tool's folder; see `Benchmark.join`.

        Both are joined by (subtask, picture, question). A folder that holds the only right
        answers there are is held to the release's counts.
        """
        joiner = Joiner(samples, path)
        known = {sample.cluster for sample in samples}
        if self._is_lines(path):
            self._join_lines(path, joiner, known)
        else:
            self._join_results(path, joiner, samples)
            if not self._independent and not self._asked:
                _hold_to_release(joiner, samples)
        return joiner.joined()

    @staticmethod
    def _is_lines(path: Path) -> bool:
        return path.is_file() and path.suffix != ".txt"

    @staticmethod
    def _join_lines(path: Path, joiner: Joiner, known: set[str]) -> None:
        for record in read_records(path):
            if "key" in record.value:
                joiner.add_own(record)
                continue
            image, prompt = record.id("question_id", "image"), record.prompt
            if image is None or prompt is None:
                raise DataError(
                    f"{path}, {record.where} has no `question_id` or no `prompt`: every picture "
                    "of MME has two questions with one id.",
                    "Write the prompt to every answer, as LLaVA's scripts do.",
                )
            text = record.text("text", "answer", "response")
            place = place_of(image, prompt)
            if place.key not in joiner and place.picture in known:
                joiner.mismatched(record.where)
            else:
                joiner.add(place.key, text, record.where)

    @staticmethod
    def _join_results(path: Path, joiner: Joiner, samples: Sequence[Sample]) -> None:
        truth = {sample.key: sample.reference for sample in samples}
        for result in read_results(path):
            if result.response is None:
                raise DataError(
                    f"{result.file}, line {result.line} has 3 fields between tabs: a response "
                    "is missing.",
                    "This is the official tool's template, or a response was lost.",
                )
            key = result.place.key
            if truth.get(key) not in (None, "", result.truth):
                joiner.mismatched(result.where)
            else:
                joiner.add(key, result.response, result.where)

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write LLaVA's lines, and the text files of the subtasks that calculation.py reads."""
        return write_mme(samples, answers, folder, model_id)

    # -- scoring ----------------------------------------------------------------------------

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return perception (headline), cognition, their sum, and every subtask's numbers."""
        answered = check_complete(samples, answers, partial)
        read = {sample.key: read_answer(answers[sample.key]) for sample in answered}
        metrics = []
        splits = [s for s in _SPLITS if any(sample.split == s for sample in answered)]
        for split in splits:
            chosen = [sample for sample in answered if sample.split == split]
            said = [read[sample.key] for sample in chosen]
            metrics.append(points(split, "all", chosen, said, headline=split == splits[0]))
        if len(splits) > 1:
            said = [read[sample.key] for sample in answered]
            metrics.append(points("perception and cognition", "all", answered, said))
        for subtask in QUESTIONS:
            chosen = [sample for sample in answered if sample.kind == subtask]
            said = [read[sample.key] for sample in chosen]
            if chosen:
                metrics.append(points(chosen[0].split, subtask, chosen, said))
                metrics += accuracies(chosen[0].split, chosen, said)
        return metrics

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return for every subtask how many answers say yes, no and neither."""
        counts: dict[str, Any] = {}
        for sample in samples:
            if sample.key in answers:
                counts.setdefault(sample.kind, {"yes": 0, "no": 0, "other": 0})[
                    read_answer(answers[sample.key])
                ] += 1
        return counts


def _split(place: Place) -> str:
    return "perception" if place.subtask in PERCEPTION else "cognition"


def _hold_to_release(joiner: Joiner, samples: Sequence[Sample]) -> None:
    """Count what the release has and the results lack, or the other way round."""
    found = Counter(sample.kind for sample in samples)
    for subtask, whole in QUESTIONS.items():
        for number in range(found[subtask], whole):
            joiner.miss(f"{subtask}: {number + 1} of {whole}")
        for number in range(whole, found[subtask]):
            joiner.add(None, "", f"{subtask}: {number + 1} of {whole}")
    for picture, count in Counter(sample.cluster for sample in samples).items():
        subtask = picture.split("/")[0]
        # With questions missing it is told already; otherwise a picture's name is wrong.
        if count != 2 and found[subtask] == QUESTIONS[subtask]:
            joiner.mismatched(f"{picture}: {count} questions, expected 2")
