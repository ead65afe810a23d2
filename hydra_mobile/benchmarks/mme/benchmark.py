"""The benchmark MME: two yes/no questions about each of 1187 pictures, in 14 subtasks.

Questions come from LLaVA's file or from the release, right answers from the release or from files
of the official tool. The headline is perception, at most 2000 points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
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
from hydra_mobile.benchmarks.mme.submission import path_in_release, write_results
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.core.errors import DataError

_SPLITS = ("perception", "cognition")


class Mme(Benchmark):
    """Yes/no questions of the splits perception and cognition; the kinds are the subtasks."""

    name = "mme"
    title = "MME"
    about = "pairs of yes-or-no questions in 14 subtasks"
    primary = "perception, of 2000 points"
    also = "cognition, every subtask, answers that are neither yes nor no"
    source = "https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models"
    licenses = MappingProxyType({"MME": "academic research only, see its release"})
    folders = ("mme", "MME")
    max_new_tokens = 128
    suffix = SHORT_ANSWER

    def __init__(self, data: Path, protocol: str = "") -> None:
        super().__init__(data, protocol)
        self.tree = MmeData(self.places)

    # -- questions --------------------------------------------------------------------------

    def splits(self) -> Sequence[str]:
        """Return perception and cognition."""
        return _SPLITS

    def read(self, split: str) -> list[Sample]:
        """Return the questions, both of a picture beside each other; see `Benchmark.read`."""
        truth, asked = self.tree.truth(), self.tree.asked
        lacking = [
            one.place.key
            for one in asked
            if one.place not in truth and split_of(one.place.subtask) == split
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
        return [sample for pair in pictures.values() for sample in pair if sample.split == split]

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
            DataFile(pictures, "images", required=False),
        ]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        files = {ASKED: len(self.tree.asked)} if self.tree.asked else {}
        if source := self.tree.source():
            files[source.name] = len(self.tree.truth())
        count, whole = max(files.values(), default=0), sum(QUESTIONS.values())
        part = f"{count} of MME's {whole} questions: not the whole benchmark"
        return super().protocol_facts() | {
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
                f"{len(odd)} images of MME in {self.data} have not 2 questions, for example "
                f"{odd[0]}: {len(pictures[odd[0]])}.",
                f"{ASKED} or the release is cut short, or of different versions.",
            )

    # -- answers ----------------------------------------------------------------------------

    def parse(self, sample: Sample, answer: str) -> str:
        """Read "yes", "no" or "other" by the official rule."""
        return read_answer(answer)

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
        lines = self.write_llava_lines(samples, answers, folder, model_id)
        return [lines, *write_results(samples, answers, folder, model_id)]

    def llava_id(self, sample: Sample) -> str:
        """Return the picture's path inside the release; both of its questions have it."""
        return path_in_release(sample)

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
