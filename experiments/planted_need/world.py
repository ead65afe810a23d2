"""A tiny Llama and a teacher that differs from it by known low-rank deltas, one per linear.

Everything follows from (kind of world, seed): base weights, how much rank each linear needs, the
deltas, every training batch by its step number, and a held-out set.

- `heterogeneous`: the layers need 16, 12, 4 and 0 ranks in an order drawn by the seed; inside a
  layer a drawn half of the linears needs 1.5 times that and the other half 0.5 times, at most 16.
- `homogeneous`, the negative control: every linear needs 8, which is what uniform LoRA has.

Every direction of a delta has the same singular value in every linear, so "need" means number of
directions and nothing else. Needs are in ranks of a LoRA; the heterogeneous ones cost together
about what rank 8 everywhere costs.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from hydra_mobile.adapters.allocate_layers import by_layer

KINDS = ("heterogeneous", "homogeneous")
HARDER = ("changing", "correlated")
"""Heterogeneous too. `changing`: a quarter of the run has other needs, another teacher's. In
`correlated` the inputs are: the token embeddings lie near a plane of eight dimensions."""
LAYERS = 4
LAYER_NEEDS = (16, 12, 4, 0)
MODULE_FACTORS = (1.5, 0.5)
HIGHEST_NEED = 16
#: Singular value of every planted direction; those of the base's square weights go up to 2.
STRENGTH = 1.0
VOCABULARY = 128
BATCH = 8
LENGTH = 16
HELD_OUT = 128


class World:
    """Base, teacher and data.

    Attributes:
        kind: one of `KINDS`.
        seed: decides everything else.
        names: the linears that carry a delta and may be adapted.
        needs: rank of each linear's delta.
        r_ref: rank of the uniform LoRA that sets the budget.
    """

    r_ref = 8

    def __init__(self, kind: str, seed: int, steps: int = 0) -> None:
        """Plant a world; `steps` of the run matter to a `changing` one."""
        if kind not in KINDS + HARDER:
            raise ValueError(f"world is {kind!r}, expected one of {KINDS + HARDER}")
        self.kind = kind
        self.seed = seed
        self._base = _base(self._generator("base"))
        if kind == "correlated":
            _correlate(self._base.model.embed_tokens.weight, self._generator("plane"))
        self.names = [n for n, m in self._base.named_modules() if _adapted(n, m)]
        self.needs = _needs(kind, self.names, random.Random(f"{kind}:{seed}:needs"))
        self._teacher = self._taught(self.needs, "")
        self._changes_at = 0
        if kind == "changing":
            self._changes_at = steps // 4
            before = _needs(kind, self.names, random.Random(f"{kind}:{seed}:before"))
            self._first_teacher = self._taught(before, "before ")
        self._batches: dict[int, tuple[Tensor, Tensor]] = {}
        ids = self._ids(HELD_OUT, "held out")
        self.held_out = ids, self._answer(ids, self._teacher)

    def student(self) -> LlamaForCausalLM:
        """Return a new copy of the base, frozen."""
        return copy.deepcopy(self._base)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of the step after step `step`: always the same one.

        Returns:
            Token ids (batch, length), and the teacher's log-probabilities (batch, length,
            vocabulary).
        """
        if step not in self._batches:
            ids = self.ids(step)
            teacher = self._first_teacher if step < self._changes_at else self._teacher
            self._batches[step] = ids, self._answer(ids, teacher)
        return self._batches[step]

    def _taught(self, needs: dict[str, int], prefix: str) -> LlamaForCausalLM:
        """Return the base with deltas of the needed ranks."""
        teacher = copy.deepcopy(self._base)
        for name, rank in needs.items():
            weight = teacher.get_submodule(name).weight
            weight.data += _delta(*weight.shape, rank, self._generator(prefix + name))
        return teacher

    def ids(self, step: int) -> Tensor:
        """Return the token ids of the step after step `step`, (batch, length)."""
        return self._ids(BATCH, f"step {step}")

    def base_weights(self) -> dict[str, Tensor]:
        """Return the weights of the base by module name."""
        return _weights(self._base)

    def teacher_weights(self, step: int | None = None) -> dict[str, Tensor]:
        """Return the weights of the teacher at a step; None: of the one that counts at the end."""
        early = step is not None and step < self._changes_at
        return _weights(self._first_teacher if early else self._teacher)

    @torch.no_grad()
    def _answer(self, ids: Tensor, teacher: LlamaForCausalLM) -> Tensor:
        return teacher(input_ids=ids).logits.log_softmax(-1)

    def _ids(self, rows: int, what: str) -> Tensor:
        return torch.randint(VOCABULARY, (rows, LENGTH), generator=self._generator(what))

    def _generator(self, what: str) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed}:{what}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def loss(logits: Tensor, answer: Tensor) -> Tensor:
    """Return the mean Kullback-Leibler divergence from the teacher, in nats per token."""
    student = logits.log_softmax(-1)
    return (answer.exp() * (answer - student)).sum(-1).mean()


def _base(generator: torch.Generator) -> LlamaForCausalLM:
    """Return a frozen Llama whose layers matter: transformers' own start leaves them near zero."""
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=88,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        attn_implementation="eager",
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(config)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            width = module.weight.shape[1]
            deviation = width**-0.5 if isinstance(module, nn.Linear) else 1.0
            module.weight.data.normal_(0.0, deviation, generator=generator)
    return model.eval().requires_grad_(False)


def _correlate(embedding: Tensor, generator: torch.Generator) -> None:
    """Bring embeddings, in place, near eight of their dimensions; their size stays."""
    count, width = embedding.shape
    few = torch.randn(count, 8, generator=generator) @ torch.randn(8, width, generator=generator)
    embedding.data = few / 8**0.5 + 0.1 * embedding.data


def _weights(model: LlamaForCausalLM) -> dict[str, Tensor]:
    return {n.removesuffix(".weight"): p.detach() for n, p in model.named_parameters()}


def _adapted(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and ".layers." in name


def _needs(kind: str, names: list[str], rng: random.Random) -> dict[str, int]:
    if kind == "homogeneous":
        return dict.fromkeys(names, World.r_ref)
    needs: dict[str, int] = {}
    layers = by_layer(names)
    order = rng.sample(LAYER_NEEDS, len(LAYER_NEEDS))
    for need, members in zip(order, layers.values(), strict=True):
        # Four of seven or three of seven need more, as the draw has it.
        factors = [MODULE_FACTORS[i % 2] for i in range(rng.randrange(2), len(members) + 1)]
        for name, factor in zip(rng.sample(members, len(members)), factors, strict=False):
            needs[name] = min(HIGHEST_NEED, round(need * factor))
    return {name: needs[name] for name in names}


def _delta(rows: int, columns: int, rank: int, generator: torch.Generator) -> Tensor:
    """Return a random (rows, columns) matrix with `rank` singular values, all `STRENGTH`."""
    left = torch.randn(rows, max(rank, 1), generator=generator)
    right = torch.randn(columns, max(rank, 1), generator=generator)
    q_left, q_right = torch.linalg.qr(left).Q, torch.linalg.qr(right).Q
    return STRENGTH * (q_left[:, :rank] @ q_right[:, :rank].T)


def cost_of_needs(needs: Sequence[int], cost: Sequence[int]) -> int:
    """Return the LoRA parameters that the planted needs would take."""
    return sum(rank * each for rank, each in zip(needs, cost, strict=True))
