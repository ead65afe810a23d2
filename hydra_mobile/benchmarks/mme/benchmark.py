"""The benchmark MME: two yes/no questions about each of 1187 pictures, in 14 subtasks.

Questions come from LLaVA's file or from the release, right answers from the release or from files
of the official tool. The headline is perception, at most 2000 points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.base import (
    SHORT_ANSWER,
    AnswerMatcher,
    Benchmark,
    DataFile,
    Joined,
    Metric,
    Sample,
    check_complete,
)
from hydra_mobile.benchmarks.mme.data import ASKED, RELEASE, MmeData, is_lines
from hydra_mobile.benchmarks.mme.files import (
    QUESTIONS,
    YES_OR_NO,
    Asked,
    Place,
    find_picture,
    split_of,
)
from hydra_mobile.benchmarks.mme.matching import hold_to_release, join_lines, join_results
from hydra_mobile.benchmarks.mme.scores import accuracies, points, read_answer
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.shared.submission_formats import write_mme
from hydra_mobile.benchmarks.shared.subset import chosen_splits, limited
from hydra_mobile.core.errors import DataError

_SPLITS = ("perception", "cognition")


class Mme(Benchmark):
    """Yes/no questions of the splits perception and cognition; the kinds are the subtasks."""

    name = "mme"
    max_new_tokens = 128

    def __init__(self, data: Path, protocol: str = "llava-1.5") -> None:
        super().__init__(data, protocol)
        self.tree = MmeData(data)

    # -- questions --------------------------------------------------------------------------

    def samples(self, *, splits: Sequence[str] = (), limit: int | None = None) -> list[Sample]:
        """Return the questions, both of a picture beside each other; see `Benchmark.samples`."""
        chosen = chosen_splits(self.name, splits, _SPLITS)
        truth, asked = self.tree.truth(), self.tree.asked
        lacking = [
            one.place.key
            for one in asked
            if one.place not in truth and split_of(one.place.subtask) in chosen
        ]
        independent = self.tree.independent
        if lacking and independent:
            raise DataError(
                f"{len(lacking)} of {len(asked)} questions of {ASKED} have no right answer in "
                f"{self.tree.source()}, for example {lacking[0]}.",
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

    def table_cells(self, sample: Sample) -> dict[str, str]:
        """Return the release's question and answer; VLMEvalKit pairs questions by `image_path`."""
        return {
            "question": f"{sample.question} {YES_OR_NO}",
            "answer": sample.reference.capitalize(),
            "category": sample.kind,
            "image_path": sample.meta["question_id"],
        }

    def answers_at(self, path: Path) -> None:
        """Take right answers from the official tool's results, which hold them, if need be."""
        self.tree.answers = path

    def files(self) -> list[DataFile]:
        """Return LLaVA's questions and the release, or what stands in for it."""
        pictures = self.tree.release or self.tree.places.expected(RELEASE)
        source = self.tree.source() or self.tree.places.expected(RELEASE)
        return [
            DataFile(
                self.tree.places.find(ASKED) or self.tree.places.expected(ASKED),
                "LLaVA's questions",
                required=False,
                count=lambda: len(self.tree.asked),
                official=(sum(QUESTIONS.values()),),
            ),
            DataFile(
                source,
                "questions and right answers, in the folders of the 14 subtasks",
                required=True,
                count=lambda: len(self.tree.truth()),
                official=(sum(QUESTIONS.values()),),
            ),
            DataFile(pictures, "pictures", required=False),
        ]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        files = {ASKED: len(self.tree.asked)} if self.tree.asked else {}
        if source := self.tree.source():
            files[source.name] = len(self.tree.truth())
        count, whole = max(files.values(), default=0), sum(QUESTIONS.values())
        part = f"{count} of MME's {whole} questions: not the whole benchmark"
        return super().protocol_facts() | {
            "suffix": SHORT_ANSWER,
            "padding": "mean color, to a square",
            "files": files,
            "notes": [part] if count != whole else [],
        }

    def _sample(self, place: Place, truth: str, asked: Asked | None) -> Sample:
        release = self.tree.release or self.tree.places.expected(RELEASE)
        path = release / asked.image if asked else find_picture(release, place)
        return Sample(
            key=place.key,
            image=FilePicture(path),
            question=place.question,
            split=split_of(place.subtask),
            kind=place.subtask,
            reference=truth,
            cluster=place.picture,
            meta={
                "prompt": asked.text if asked else place.question + SHORT_ANSWER,
                "question_id": asked.image if asked else path.relative_to(release).as_posix(),
            },
        )

    def _require_pairs(self, pictures: Mapping[str, Sequence[Sample]]) -> None:
        odd = [name for name, pair in pictures.items() if len(pair) != 2]
        if odd:
            raise DataError(
                f"{len(odd)} pictures of MME in {self.data} have not 2 questions, for example "
                f"{odd[0]}: {len(pictures[odd[0]])}.",
                f"{ASKED} or the release is cut short, or of different versions.",
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
        joiner = AnswerMatcher(samples, path)
        if is_lines(path):
            join_lines(path, joiner, samples)
        else:
            join_results(path, joiner, samples)
            if not self.tree.independent and not self.tree.asked:
                there = {split_of(place.subtask) for place in self.tree.truth()}
                hold_to_release(joiner, samples, there - {sample.split for sample in samples})
        return joiner.joined()

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
