"""Any artifact of ours as a model of lmms-eval (0.7), for those who prefer its tasks and tables.

`lmms_eval --model hydra_mobile --model_args pretrained=BUNDLE --tasks pope,mme`. lmms-eval brings
data, prompts and scorers; this class brings the runner and the greedy loop that the evaluate
command uses, so that both ask the model in the same way. Imported by lmms-eval, and by nothing
here, because its base class is lmms-eval's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lmms_eval.api.model import lmms
from PIL import Image

from hydra_mobile.benchmarks.pictures import TURNED
from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.core.registry import nearest
from hydra_mobile.models.pictures import as_rgb
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.generation import Generator
from hydra_mobile.runtimes.model_ref import model_at

#: New tokens where a task says nothing.
_MAX_NEW_TOKENS = 128
_IMAGE_MARK = "<image>"
_ARGUMENTS = ("pretrained", "threads", "batch_size", "max_batch_size", "device")


class HydraMobile(lmms):  # type: ignore[misc]
    """Answers lmms-eval's requests with one artifact, one at a time and greedily.

    Args:
        pretrained: a bundle, run, merged folder or named base.
        threads: CPU threads of the runtime; 0 leaves the choice to it.
        batch_size: 1; lmms-eval hands it over.
        max_batch_size: None or 1.
        device: None, "cpu", or for what eager torch runs a GPU such as "cuda:0".

    Raises:
        HydraError: there is no such artifact, or an argument has another value.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = "",
        threads: int = 0,
        batch_size: int | str = 1,
        max_batch_size: int | str | None = None,
        device: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        for name in unknown:
            raise ConfigError(
                f"--model_args has `{name}`, which hydra_mobile does not know.",
                nearest(name, _ARGUMENTS),
            )
        if not pretrained:
            raise ConfigError(
                "hydra_mobile needs to know what to run.",
                "Give it: --model_args pretrained=BUNDLE (or a run, a merged folder, a base).",
            )
        if str(batch_size) != "1" or str(max_batch_size or 1) != "1":
            raise ConfigError(
                f"batch_size is {batch_size}: exported programs answer one question at a time.",
                "Use --batch_size 1, or leave it out.",
            )
        artifact = model_at(str(pretrained))
        elsewhere = device not in (None, "", "cpu")
        if elsewhere and artifact.runner != "torch":
            raise ConfigError(
                f"device is {device!r}: {artifact.name} runs on the processor.",
                "Leave --device out.",
            )
        placed = {"device": device} if elsewhere else {}
        runner: Runtime = runtime_class(artifact.runner).load(
            artifact.path, threads=int(threads), **placed
        )
        self._generator = Generator(runner)

    @property
    def batch_size(self) -> int:
        """One question at a time."""
        return 1

    @property
    def device(self) -> torch.device:
        """Where lmms-eval gathers counts from its processes; says nothing about the runtime."""
        return torch.device("cpu")

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the answer to each request, in the order of the requests.

        Args:
            requests: each with `args` = (context, gen_kwargs, doc_to_visual, doc_id, task, split).

        Raises:
            HydraError: a request has several pictures, none at all that we can read, or asks for
                anything but greedy decoding.
        """
        answers = []
        for request in requests:
            context, wanted, to_visual, doc_id, task, split = request.args
            visuals = to_visual(self.task_dict[task][split][doc_id])
            answers.append(self._answer(context, wanted, visuals, f"{task}/{split}/{doc_id}"))
            self.cache_hook.add_partial("generate_until", (context, wanted), answers[-1])
        return answers

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[list[str]]:
        """Return the answers of all rounds of each request, in the order of the requests.

        Args:
            requests: each with `args` = (context, gen_kwargs, doc_to_visual, doc_to_text, doc_id,
                task, split). From the second round on, `doc_to_text` gives pictures, text, whether
                to stop, the rounds so far and what it wants to remember.

        Raises:
            HydraError: as `generate_until`.
        """
        answers = []
        for request in requests:
            text, wanted, to_visual, to_text, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            visuals, rounds, remembered = to_visual(doc), list[str](), None
            while True:
                where = f"{task}/{split}/{doc_id}, round {len(rounds) + 1}"
                rounds.append(self._answer(text, wanted, visuals, where))
                visuals, text, stop, rounds, remembered = to_text(
                    doc,
                    previous_output=rounds,
                    round_idx=len(rounds),
                    previous_round_info=remembered,
                )
                rounds = list(rounds)
                if stop:
                    break
            answers.append(rounds)
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refuse: only generated answers are what a phone shows.

        Raises:
            HydraError: always.
        """
        raise HydraError(
            "hydra_mobile only generates; this task asks for the likelihood of given texts.",
            "Choose a task that generates, for example pope, mme, gqa, scienceqa_img, textvqa_val "
            "or mmbench_en_dev_static.",
        )

    def _answer(self, context: str, wanted: Mapping[str, Any], visuals: Any, where: str) -> str:
        most = _most_new_tokens(wanted, where)
        picture = _picture(visuals, where)
        generation = self._generator.answer(
            _without_mark(context),
            None if picture is None else lambda: picture,
            None if picture is None else _key(picture),
            max_new_tokens=most,
        )
        return _until(generation.text, wanted.get("until"))


def _most_new_tokens(wanted: Mapping[str, Any], where: str) -> int:
    """Return the most new tokens; greedy decoding is the only kind there is."""
    sampled = bool(wanted.get("do_sample")) and (wanted.get("temperature") or 1) > 0
    if sampled or (wanted.get("temperature") or 0) > 0 or (wanted.get("num_beams") or 1) > 1:
        found = {k: wanted[k] for k in ("do_sample", "temperature", "num_beams") if k in wanted}
        raise HydraError(
            f"{where}: gen_kwargs ask for {found}; hydra_mobile decodes greedily, one beam.",
            "Add: --gen_kwargs do_sample=False,temperature=0,num_beams=1",
        )
    return int(wanted.get("max_new_tokens") or _MAX_NEW_TOKENS)


def _picture(visuals: Any, where: str) -> Image.Image | None:
    found = [visuals] if isinstance(visuals, Image.Image) else list(visuals or ())
    if not found:
        return None
    if len(found) > 1:
        raise HydraError(
            f"{where} shows {len(found)} images; MobileVLM sees one.",
            "Choose tasks with one image a question.",
        )
    if not isinstance(found[0], Image.Image):
        raise HydraError(
            f"{where} shows a {type(found[0]).__name__}; expected a PIL image.",
            "MobileVLM sees images, no video and no sound.",
        )
    return as_rgb(found[0], turn=TURNED)


def _key(picture: Image.Image) -> str:
    """Name the pixels: tasks ask several questions about one picture, each with its own copy."""
    return f"{picture.size} {hashlib.sha256(picture.tobytes()).hexdigest()}"


def _without_mark(context: str) -> str:
    """Drop the place of the picture: the model's template has its own."""
    return context.replace(f"{_IMAGE_MARK}\n", "").replace(_IMAGE_MARK, "").lstrip("\n")


def _until(text: str, stops: Any) -> str:
    """Return the text before the first of the stop texts."""
    for stop in [stops] if isinstance(stops, str) else list(stops or ()):
        if stop:
            text = text.split(stop)[0]
    return text
