"""A benchmark as a list of items: question, picture, accepted answers, and how they are scored.

Most benchmarks are no more than that; a new one says in `items` where its own are, and which score
of `hydra_mobile.benchmarks.scoring` is theirs. docs/own_benchmark.md shows one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any, ClassVar

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.metric import Metric
from hydra_mobile.benchmarks.pictures import Picture
from hydra_mobile.benchmarks.scoring import SCORES, Scorer
from hydra_mobile.benchmarks.types import CHOICE, SHORT_ANSWER, Sample
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.registry import nearest

YES_OR_NO = "\nPlease answer yes or no."
#: The suffixes without their line feed.
SHORT_LINE, CHOICE_LINE = SHORT_ANSWER.strip(), CHOICE.strip()


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        question: as a person would ask it.
        answers: accepted ones; a letter, or an option's text, where there are options; for the
            score "vqa" what each of several people said. Empty: asked, and not scored.
        image: its picture; None for a question without one.
        kind: form or topic of the question, for scores by kind.
        options: texts of A, B, ...; empty for an open question.
        score: a name of `hydra_mobile.benchmarks.scoring.SCORES`; "": the benchmark's.
        key: unique within its split; "": its number.
        hint: what stands before the question.
        prompt: what a user would type, where the benchmark has that itself; "": made from the rest.
        group: questions of one group are resampled together; "": those about one picture.
    """

    question: str
    answers: tuple[str, ...] = ()
    image: Picture | None = None
    kind: str = "all"
    options: tuple[str, ...] = ()
    score: str = ""
    key: str = ""
    hint: str = ""
    prompt: str = ""
    group: str = ""


@dataclass(frozen=True)
class Wording:
    """How questions are put, as one evaluator does it.

    Attributes:
        short: what follows a question with a short answer.
        choice: what follows the options of a question that has some.
        yesno: what follows a question that is answered by yes or no.
        question: stands before the question of one with options.
        options: stands before the options.
        hint: stands before a hint.
    """

    short: str = SHORT_ANSWER
    choice: str = CHOICE
    yesno: str = YES_OR_NO
    question: str = ""
    options: str = ""
    hint: str = ""

    def prompt(self, item: Item, form: str) -> str:
        """Return what a user would type; `form` is "short", "choice" or "yesno"."""
        hint = f"{self.hint}{item.hint}\n" if item.hint else ""
        if not item.options:
            return hint + item.question + str(getattr(self, form))
        lettered = "\n".join(
            f"{letter}. {text}" for letter, text in zip(ascii_uppercase, item.options, strict=False)
        )
        return f"{hint}{self.question}{item.question}\n{self.options}{lettered}{self.choice}"


#: The suffixes of LLaVA's scripts, which lmms-eval took over for most benchmarks.
LLAVA = Wording()
#: The question as it is; options follow it.
AS_WRITTEN = Wording(short="", choice="", yesno="")
#: VLMEvalKit's default prompts (`ImageMCQDataset`, `ImageVQADataset`, `ImageYORNDataset`).
VLMEVALKIT = Wording(
    choice="\nPlease select the correct answer from the options above. \n",
    yesno="",
    question="Question: ",
    options="Options:\n",
    hint="Hint: ",
)
_LETTERS = tuple(ascii_uppercase[:10])


class ItemBenchmark(Benchmark):
    """A benchmark whose questions are `Item`s."""

    columns = ("question", "answer", "category", "image_path", *_LETTERS)
    #: How its answers are scored, where an item does not say so itself.
    scored_by: ClassVar[str] = "exact"
    #: Protocol -> how it puts questions; the first is the default.
    wordings: ClassVar[Mapping[str, Wording]] = MappingProxyType({"llava-1.5": LLAVA})

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "protocols" not in vars(cls):
            cls.protocols = tuple(cls.wordings)

    @abstractmethod
    def items(self, split: str) -> Iterable[Item]:
        """Return the questions of a split; errors as of `read`."""

    def splits(self) -> Sequence[str]:
        """Return one split; a benchmark with several overrides this."""
        return ("test",)

    def read(self, split: str) -> list[Sample]:
        """Return the items as samples, those about one picture beside each other."""
        groups: dict[str, list[Sample]] = {}
        for number, item in enumerate(self.items(split), 1):
            sample = self._sample(split, number, item)
            groups.setdefault(sample.cluster, []).append(sample)
        return [sample for group in groups.values() for sample in group]

    def scorer(self, sample: Sample) -> Scorer:
        """Return how a sample's answer is scored."""
        return SCORES[sample.meta["score"]]

    def parse(self, sample: Sample, answer: str) -> str:
        """Return what the answer says, by its score's rule."""
        return self.scorer(sample).read(answer, sample.meta["options"])

    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether the answer's credit is high enough to call it right."""
        right = self.scorer(sample).right_from
        return bool(sample.reference) and self.credit(sample, answer) >= right - 1e-9

    def credit(self, sample: Sample, answer: str) -> float:
        """Return what the answer is worth, by its score's rule."""
        scorer = self.scorer(sample)
        if scorer.by_reading:
            return float(self.parse(sample, answer) == sample.reference)
        return scorer.credit(answer, sample.meta["answers"])

    def accuracy(
        self,
        split: str,
        kind: str,
        samples: Sequence[Sample],
        answers: Mapping[str, str],
        *,
        headline: bool = False,
    ) -> Metric:
        """Return the mean credit; a constant answer's only where answers are letters or yes/no."""
        metric = super().accuracy(split, kind, samples, answers, headline=headline)
        if all(self.scorer(sample).by_reading for sample in samples):
            return metric
        return replace(metric, majority=None)

    def table_cells(self, sample: Sample) -> dict[str, str]:
        """Return the sample's cells; several accepted answers are a JSON list."""
        cells = super().table_cells(sample)
        given, options = sample.meta["answers"], sample.meta["options"]
        if len(given) > 1:
            cells["answer"] = dumps(list(given), ensure_ascii=False)
        return cells | dict(zip(_LETTERS, options, strict=False))

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol with the words that it adds; see `Benchmark.protocol_facts`."""
        wording = self.wordings[self.protocol]
        added = {form: getattr(wording, form) for form in ("short", "choice", "yesno")}
        return super().protocol_facts() | {"suffixes": added}

    def _sample(self, split: str, number: int, item: Item) -> Sample:
        name = item.score or ("choice" if item.options else self.scored_by)
        if name not in SCORES:
            raise ConfigError(f"{self.name} knows no score `{name}`.", nearest(name, SCORES))
        scorer = SCORES[name]
        key = item.key or str(number)
        answers = tuple(answer for answer in item.answers if answer.strip())
        prompt = item.prompt or self.wordings[self.protocol].prompt(item, scorer.asks)
        return Sample(
            key=key if len(self.splits()) == 1 else f"{split}/{key}",
            image=item.image,
            question=item.question,
            split=split,
            kind=item.kind,
            reference=_reference(answers, item.options, scorer),
            cluster=item.group or (item.image.key if item.image else f"question {key}"),
            meta={"answers": answers, "options": item.options, "score": name, "prompt": prompt},
        )


def _reference(answers: Sequence[str], options: Sequence[str], scorer: Scorer) -> str:
    """Return the right answer: a letter, yes or no, or what most people said."""
    if not answers:
        return ""
    first = answers[0].strip()
    if scorer.asks == "choice":
        return letter_of(first, options)
    if scorer.asks == "yesno":
        return first.lower()
    return Counter(answers).most_common(1)[0][0]


def letter_of(answer: str, options: Sequence[str]) -> str:
    """Return the letter that an answer is, or that its text has among the options; "" for none."""
    letters = ascii_uppercase[: len(options)]
    texts = [option.strip().casefold() for option in options]
    if answer.casefold() in texts and answer.upper() not in list(letters):
        return letters[texts.index(answer.casefold())]
    return answer.upper() if answer.upper() in list(letters) else ""
