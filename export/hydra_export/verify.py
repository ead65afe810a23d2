"""Verify: does an exported bundle answer as the merged model did?

Replays the bundle's golden vectors through the runner that the manifest names: preprocessing,
prompt ids, image embeddings, first logits, then every greedy token, fed the golden ids so that one
early difference does not hide the rest. Knows no runtime. Called by the command line, by
`quickstart`, and by whoever copied a bundle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hydra_export.bundle import Bundle
from hydra_export.golden import pixel_statistics
from hydra_mobile.errors import ArtefactError, ParityError
from hydra_mobile.evaluation.runners import runner_class
from hydra_mobile.evaluation.runners.base import Array, CacheState, Runner
from hydra_mobile.files import read_json

#: Preprocessing is the same few numpy lines everywhere; only the decoder of the PNG may differ.
PIXEL_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Tolerance:
    """How far a bundle of a preset may be from the merged fp32 model.

    Attributes:
        logits: largest absolute difference of the first logits.
        cosine: smallest cosine of the first logits.
        image_cosine: smallest cosine of the image embeddings.
        agreement: smallest share of greedy tokens that agree, over all cases.
        margin: a disagreeing token is a tie, and counts as agreeing, where the golden logit leads
            the second best by less than this.
    """

    logits: float
    cosine: float
    image_cosine: float
    agreement: float
    margin: float


FP32_TOLERANCE = Tolerance(1e-3, 1.0 - 1e-6, 1.0 - 1e-6, 1.0, 2e-3)
# Wide on purpose, since golden answers hold a handful of tokens: it catches a broken program, such
# as an overwritten cache. How much of the task survives 4 bits is what an evaluation measures.
QUANTISED_TOLERANCE = Tolerance(math.inf, 0.98, 0.99, 0.5, 0.0)


def tolerance_of(precisions: Mapping[str, Any]) -> Tolerance:
    """Return the tolerance for a preset, given as its dictionary: exact only if all is fp32."""
    parts = ("vision", "projector", "embedding", "decoder", "head")
    exact = all(precisions.get(part) == "fp32" for part in parts)
    return FP32_TOLERANCE if exact else QUANTISED_TOLERANCE


@dataclass(frozen=True)
class CaseResult:
    """How one golden case went.

    `leading` counts the greedy tokens that agree before the first that does not: the length up to
    which a free-running generation would be the same. `agreeing` counts all that agree, ties
    included.
    """

    question: str
    pixel_difference: float
    prompt_equal: bool
    image_difference: float
    image_cosine: float
    logits_difference: float
    logits_mean_difference: float
    logits_cosine: float
    top1_equal: bool
    leading: int
    agreeing: int
    tokens: int


@dataclass(frozen=True)
class VerifyResult:
    """The outcome of all cases; `failures` is empty when the bundle agrees."""

    bundle: str
    runtime: str
    preset: str
    tolerance: Tolerance
    cases: list[CaseResult]
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether everything lies within the tolerance."""
        return not self.failures

    @property
    def agreement(self) -> float:
        """Share of greedy tokens that agree."""
        return sum(c.agreeing for c in self.cases) / max(1, sum(c.tokens for c in self.cases))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as reports store it."""
        value = asdict(self) | {"passed": self.passed, "agreement": self.agreement}
        if math.isinf(self.tolerance.logits):
            value["tolerance"]["logits"] = None  # JSON has no infinity
        return value

    def table(self) -> str:
        """Return a table for the terminal, one line for each case."""
        head = (
            f"{'case':>4}  {'pixels':>8}  {'prompt':>6}  {'image cos':>10}  {'logits max':>10}  "
            f"{'mean':>8}  {'cosine':>9}  {'top-1':>5}  {'greedy ids':>14}"
        )
        lines = [f"{self.runtime} {self.preset}: {self.bundle}", head]
        for index, case in enumerate(self.cases):
            same = f"{case.agreeing}/{case.tokens} ({case.leading} first)"
            lines.append(
                f"{index:>4}  {case.pixel_difference:>8.1e}  {_mark(case.prompt_equal):>6}  "
                f"{case.image_cosine:>10.6f}  {case.logits_difference:>10.2e}  "
                f"{case.logits_mean_difference:>8.1e}  {case.logits_cosine:>9.6f}  "
                f"{_mark(case.top1_equal):>5}  {same:>14}"
            )
        lines += [f"FAILED {failure}" for failure in self.failures]
        if self.passed:
            lines.append(f"agrees with the merged model ({self.agreement:.0%} of greedy tokens)")
        return "\n".join(lines)

    def require(self) -> None:
        """Raise unless the bundle agrees.

        Raises:
            ParityError: with every difference that is too large.
        """
        if self.failures:
            raise ParityError(
                f"{self.bundle} does not answer as the merged model: " + " ".join(self.failures),
                "Export it again; if it stays, compare the versions in its manifest.",
            )


def verify(
    folder: Path, *, log: Callable[[str], None] = lambda _: None, runner: Runner | None = None
) -> VerifyResult:
    """Replay the golden vectors of the bundle at `folder`.

    Args:
        folder: the bundle; its hashes are checked first.
        log: gets one line for each case.
        runner: a loaded runner of this bundle, to save loading it again.

    Returns:
        The result, passed or not; `result.require()` turns a failure into an error.

    Raises:
        ArtefactError: the bundle is incomplete or altered.
    """
    folder = Path(folder)
    bundle = Bundle.open(folder, verify_hashes=runner is None)
    golden = read_json(bundle.file("golden"), "golden vectors")
    try:
        vectors = load_file(bundle.file("golden_vectors"))
    except SafetensorError as error:
        raise ArtefactError(f"{bundle.file('golden_vectors')} is unreadable: {error}") from error
    if runner is None:
        runner = runner_class(bundle.runtime).load(folder)
    tolerance = tolerance_of(bundle.manifest["preset"])
    cases, failures = [], []
    for index, case in enumerate(golden["cases"]):
        result = _replay(runner, folder, case, index, vectors, tolerance)
        log(f"case {index}: {result.agreeing}/{result.tokens} tokens, `{case['question'][:60]}`")
        failures += [f"Case {index}: {what}" for what in _failures(result, tolerance)]
        cases.append(result)
    outcome = VerifyResult(
        str(folder), bundle.runtime, bundle.preset.name, tolerance, cases, failures
    )
    if outcome.agreement < tolerance.agreement:
        failures.append(
            f"{outcome.agreement:.1%} of the greedy tokens agree, "
            f"at least {tolerance.agreement:.0%} must."
        )
    return outcome


def _mark(value: bool) -> str:
    return "yes" if value else "NO"


def _cosine(left: Array, right: Array) -> float:
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.dot(a, b)) / norms if norms > 0 else 0.0


def _pixel_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    if found["shape"] != expected["shape"]:
        return math.inf
    pairs = [(found["mean"], expected["mean"]), (found["std"], expected["std"])]
    pairs += list(zip(found["first"], expected["first"], strict=True))
    return float(max(abs(a - b) for a, b in pairs))


def _replay(
    runner: Runner,
    folder: Path,
    case: Mapping[str, Any],
    index: int,
    vectors: Mapping[str, Array],
    tolerance: Tolerance,
) -> CaseResult:
    processor = runner.processor
    with Image.open(folder / case["image"]) as image:
        pixels = processor.preprocess(image)
    prompt = processor.prompt(case["question"])
    image_embeddings = runner.encode_image(pixels[None])
    parts = [runner.embed(case["before"]), image_embeddings, runner.embed(case["after"])]
    logits, state = runner.decode(np.concatenate(parts, axis=1), CacheState())
    expected = vectors[f"{index}.logits"]
    if logits.shape != expected.shape:
        raise ParityError(
            f"Case {index}: logits have shape {logits.shape}, golden ones {expected.shape}."
        )
    difference = np.abs(logits - expected)
    first, agrees = logits, []
    for position, token in enumerate(case["ids"]):
        margin = float(vectors[f"{index}.margins"][position])
        agrees.append(int(logits.argmax()) == token or margin < tolerance.margin)
        if position + 1 < len(case["ids"]):
            logits, state = runner.decode(runner.embed([token]), state)
    return CaseResult(
        question=case["question"],
        pixel_difference=_pixel_difference(pixel_statistics(pixels), case["pixels"]),
        prompt_equal=[prompt.before, prompt.after] == [case["before"], case["after"]],
        image_difference=float(np.abs(image_embeddings[0] - vectors[f"{index}.image"]).max()),
        image_cosine=_cosine(image_embeddings[0], vectors[f"{index}.image"]),
        logits_difference=float(difference.max()),
        logits_mean_difference=float(difference.mean()),
        logits_cosine=_cosine(first, expected),
        top1_equal=bool(agrees[0]),
        leading=agrees.index(False) if False in agrees else len(agrees),
        agreeing=sum(agrees),
        tokens=len(agrees),
    )


def _failures(case: CaseResult, tolerance: Tolerance) -> list[str]:
    failures = []
    if not case.pixel_difference <= PIXEL_TOLERANCE:
        failures.append(
            f"pixels differ by {case.pixel_difference:.1e} (at most {PIXEL_TOLERANCE})."
        )
    if not case.prompt_equal:
        failures.append("the tokenizer or template gives other prompt ids.")
    # Written so that NaN fails.
    if not case.image_cosine >= tolerance.image_cosine:
        failures.append(
            f"image embeddings have cosine {case.image_cosine:.6f} "
            f"(at least {tolerance.image_cosine})."
        )
    if not case.logits_difference <= tolerance.logits:
        failures.append(
            f"logits differ by {case.logits_difference:.2e} (at most {tolerance.logits})."
        )
    if not case.logits_cosine >= tolerance.cosine:
        failures.append(
            f"logits have cosine {case.logits_cosine:.6f} (at least {tolerance.cosine})."
        )
    return failures
