"""Many LoRA students of planted worlds side by side on one thread.

The worlds are those of `world.py`; the students' model is its Llama written out without
transformers, so that students of several seeds, worlds and arms can be stacked: a dozen takes 600
steps in the time of about two single ones. `tests/test_adapters/test_stacked.py` holds it to the
product's own adapters, optimizer and resize. Knows no rule for ranks.

Ranks really change: a student's components live in slots 0 ... rank - 1 of tensors with `R_MAX`
slots, and an empty slot has A = B = 0, which no gradient can wake (grad A = B^T g, grad B = g A^T).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from experiments.planted_need.world import LENGTH, World
from hydra_mobile.adapters.lora import initial_a
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import svd_transforms

LAYERS, HIDDEN, HEADS = 4, 32, 4
R_REF, R_MAX, SCALE = World.r_ref, 16, 2.0
#: Training batches that tell where a module that grows should move.
GRADIENT_BATCHES = 4
#: Of the modules' names in the product's students (`loop.py`).
PREFIX = "language_model."
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"


def _rotary() -> tuple[Tensor, Tensor]:
    width = HIDDEN // HEADS
    angle = torch.outer(
        torch.arange(LENGTH).float(), 10_000.0 ** (-torch.arange(0, width, 2).float() / width)
    )
    both = torch.cat([angle, angle], -1)
    return both.cos(), both.sin()


_COS, _SIN = _rotary()
_CAUSAL = torch.full((LENGTH, LENGTH), -1e9).triu(1)


def logits(weights: dict[str, Tensor], ids: Tensor, modules: Sequence[str]) -> Tensor:
    """Run S tiny Llamas: weights (S, out, in), ids (S, rows, length) -> (S, rows * length, V)."""
    count, rows, length = ids.shape
    width = HIDDEN // HEADS

    def norm(x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    def linear(m: str, x: Tensor) -> Tensor:
        return x @ weights[m].mT

    def turned(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * _COS + torch.cat([-second, first], -1) * _SIN

    flat = ids.reshape(count, -1)
    x = torch.stack([table[own] for table, own in zip(weights[EMBEDDING], flat, strict=True)])
    for layer in range(LAYERS):
        q, k, v, o, gate, up, down = modules[layer * 7 : layer * 7 + 7]
        h = norm(x)
        shape = (count, rows, length, HEADS, width)
        heads = [linear(m, h).view(shape).transpose(2, 3) for m in (q, k, v)]
        score = turned(heads[0]) @ turned(heads[1]).mT / math.sqrt(width) + _CAUSAL
        mixed = (score.softmax(-1) @ heads[2]).transpose(2, 3).reshape(count, -1, HIDDEN)
        x = x + linear(o, mixed)
        h = norm(x)
        x = x + linear(down, torch.nn.functional.silu(linear(gate, h)) * linear(up, h))
    return norm(x) @ weights[HEAD].mT


def divergence(student: Tensor, answer: Tensor) -> Tensor:
    """Return KL(teacher | student) per world, nats per token; `answer` is the log-probabilities."""
    return (answer.exp() * (answer - student.log_softmax(-1))).sum(-1).mean(1)


class Data:
    """What the teachers of several worlds answer, by step, made once."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self.worlds = list(worlds)
        self.modules = list(worlds[0].names)
        own = [world.base_weights() for world in worlds]
        self.base = {n: torch.stack([w[n] for w in own]) for n in (EMBEDDING, *self.modules, HEAD)}
        self.shape = {m: tuple(self.base[m].shape[1:]) for m in self.modules}
        self._made: dict[int, tuple[Tensor, Tensor]] = {}
        self._changes = any(world.kind == "changing" for world in worlds)
        self._teachers = self._stacked(None)
        held = [world.held_out for world in worlds]
        self.held_out = (
            torch.stack([ids for ids, _ in held]),
            torch.stack([answer.flatten(0, 1) for _, answer in held]),
        )

    def _stacked(self, step: int | None) -> dict[str, Tensor]:
        taught = [world.teacher_weights(step) for world in self.worlds]
        return {n: torch.stack([w[n] for w in taught]) for n in self.base}

    @torch.no_grad()
    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return ids (W, rows, length) and log-probabilities (W, rows * length, V)."""
        if step not in self._made:
            teachers = self._stacked(step) if self._changes else self._teachers
            ids = torch.stack([world.ids(step) for world in self.worlds])
            self._made[step] = ids, logits(teachers, ids, self.modules).log_softmax(-1)
        return self._made[step]


class Students:
    """S LoRA students with ranks of their own; student s learns world `world[s]`.

    AdamW without decay, ten steps of ramp, half a cosine to zero, s = 2 at the reference rank.
    Twice the rank at the same s and rate moves W about twice as far per Adam step. `hold` says what
    falls as R_REF / rank against that, by student: a module's "rate", its "scale", "both", or
    nothing (""). `along` are the students whose new rows of A lie along the residual gradient.
    """

    def __init__(
        self,
        data: Data,
        world: list[int],
        steps: int,
        peak: float,
        hold: Sequence[str] | None = None,
        along: Sequence[int] = (),
    ) -> None:
        self.data, self.world, self.steps, self.peak = data, torch.tensor(world), steps, peak
        self.modules, self._shape = data.modules, data.shape
        self.cost = {m: sum(shape) for m, shape in data.shape.items()}
        self.step = 0
        self.count = len(world)
        self.base = {n: x[self.world] for n, x in data.base.items()}
        self.ranks = [dict.fromkeys(self.modules, R_REF) for _ in world]
        size = R_MAX * sum(sum(s) for s in self._shape.values())
        self._flat, self._first, self._second = (torch.zeros(self.count, size) for _ in range(3))
        self._hold = list(hold or [""] * self.count)
        self._along = frozenset(along)
        self._pace = torch.ones(self.count, size)
        self._scale = {m: torch.full((self.count, 1, 1), SCALE) for m in self.modules}
        self.a, self.b = self._views(self._flat)
        for s in range(self.count):
            for m in self.modules:
                seed = data.worlds[world[s]].seed
                into = self._shape[m][1]
                self.a[m][s, :R_REF] = initial_a(f"{PREFIX}{m}", R_REF, into, seed)
        for tensor in (*self.a.values(), *self.b.values()):
            tensor.requires_grad_()

    def _views(self, flat: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return A (S, R_MAX, in) and B (S, out, R_MAX) by module, as views of one tensor."""
        a, b, at = {}, {}, 0
        for m in self.modules:
            out, into = self._shape[m]
            a[m] = flat[:, at : at + R_MAX * into].view(-1, R_MAX, into)
            at += R_MAX * into
            b[m] = flat[:, at : at + out * R_MAX].view(-1, out, R_MAX)
            at += out * R_MAX
        return a, b

    def _fresh(self, s: int, m: str, rows: int) -> Tensor:
        """Return the rows of A that the product gives a module that grows at this step."""
        seed, old = self.data.worlds[int(self.world[s])].seed, self.ranks[s][m]
        key = hashlib.sha256(f"{seed}:grow:{self.step}:{old}".encode()).digest()
        into = self._shape[m][1]
        return initial_a(f"{PREFIX}{m}", rows, into, int.from_bytes(key[:6], "big"))

    def _along_gradient(self, s: int, grown: Mapping[str, int]) -> dict[str, Tensor]:
        """Return new rows of A by module: where the residual gradient says that W should move.

        dL/dW of the last four batches at the weights as they are, without what B's columns and A's
        rows span; its leading right singular vectors, as long as random rows are.

        Args:
            s: the student.
            grown: new rows by module.
        """
        world, own = int(self.world[s]), slice(s, s + 1)
        weights = {name: every[own] for name, every in self.base.items()}
        with torch.enable_grad():
            moved = {m: (weights[m] + self._delta(m, own)).detach() for m in self.modules}
            for m in grown:
                moved[m].requires_grad_()
            loss = torch.zeros(())
            for step in range(self.step - GRADIENT_BATCHES, self.step):
                ids, answer = (x[world : world + 1] for x in self.data.batch(step))
                found = logits(weights | moved, ids, self.modules)
                loss = loss + divergence(found, answer).sum()
            gradients = torch.autograd.grad(loss, [moved[m] for m in grown])
        rows = {}
        for (m, count), gradient in zip(grown.items(), gradients, strict=True):
            r = self.ranks[s][m]
            qb = torch.linalg.qr(self.b[m][s, :, :r].double()).Q
            qa = torch.linalg.qr(self.a[m][s, :r].double().mT).Q
            g = gradient[0].double()
            g = g - qb @ (qb.mT @ g)
            g = g - (g @ qa) @ qa.mT
            rows[m] = (torch.linalg.svd(g, full_matrices=False).Vh[:count] / math.sqrt(3)).float()
        return rows

    def _delta(self, m: str, who: slice = slice(None)) -> Tensor:
        """Return s B A of students, (students, out, in)."""
        return self._scale[m][who] * (self.b[m][who] @ self.a[m][who])

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        ids, answer = batch
        now = self.base | {m: self.base[m] + self._delta(m) for m in self.modules}
        return divergence(logits(now, ids[self.world], self.modules), answer[self.world])

    def train(self, until: int) -> None:
        """Take optimizer steps until `until` are done."""
        tensors = [t for m in self.modules for t in (self.a[m], self.b[m])]
        while self.step < until:
            loss = self._loss(self.data.batch(self.step))
            found = torch.autograd.grad(loss.sum(), tensors)
            gradient = torch.cat([g.flatten(1) for g in found], 1)
            done = self.step + 1
            rate = self.peak * min(1.0, done / 10)
            rate *= 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
            with torch.no_grad():
                self._first.lerp_(gradient, 0.1)
                self._second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                size = (self._second / (1 - 0.999**done)).sqrt_().add_(1e-8)
                self._flat.addcdiv_(self._first * self._pace, size, value=-rate / (1 - 0.9**done))
            self.step = done

    @torch.no_grad()
    def held_out(self) -> list[float]:
        """Return every student's loss on its world's held-out set."""
        return self._loss(self.data.held_out).tolist()

    @torch.no_grad()
    def following(self, s: int, batches: int) -> list[float]:
        """Return one student's losses on the next batches."""
        world = int(self.world[s])
        own = slice(s, s + 1)
        weights = {name: every[own] for name, every in self.base.items()}
        weights |= {m: weights[m] + self._delta(m, own) for m in self.modules}
        found = []
        for i in range(batches):
            ids, answer = (x[world : world + 1] for x in self.data.batch(self.step + i))
            found.append(float(divergence(logits(weights, ids, self.modules), answer)))
        return found

    @contextmanager
    def truncated(self, s: int, ranks: Mapping[str, int]) -> Iterator[None]:
        """Keep only the first directions of one student's modules inside the block."""
        whole = {m: self.b[m][s].detach().clone() for m in ranks}
        with torch.no_grad():
            for m, rank in ranks.items():
                r = self.ranks[s][m]
                a, b = self.a[m][s, :r].detach(), self.b[m][s, :, :r].detach()
                of_a, of_b = svd_transforms(a, b, rank)
                self.b[m][s, :, :r] = (b.double() @ of_b @ of_a).float()
        try:
            yield
        finally:
            with torch.no_grad():
                for m, kept in whole.items():
                    self.b[m][s] = kept

    @torch.no_grad()
    def spectrum(self, s: int) -> dict[str, list[float]]:
        """Return the singular values of s B A, falling, one per rank.

        From the r x r core: B = Qb Rb, A^T = Qa Ra, so B A and Rb Ra^T have the same ones.
        """
        found = {}
        for m in self.modules:
            r = self.ranks[s][m]
            rb = torch.linalg.qr(self.b[m][s, :, :r].double()).R
            ra = torch.linalg.qr(self.a[m][s, :r].double().mT).R
            found[m] = (float(self._scale[m][s]) * torch.linalg.svdvals(rb @ ra.mT)).tolist()
        return found

    @torch.no_grad()
    def resize(self, s: int, ranks: dict[str, int], shrink: str = "svd") -> None:
        """Bring student s to `ranks`: all that shrinks first, then all that grows.

        shrink `svd`: turn the components into singular directions (moments with them), drop the
        last. `index`: drop the smallest ||b_i|| ||a_i||. Growth: rows of A as at the start, columns
        of B zero, first moments zero, second moments the mean of the module's other components.
        """
        limit = R_REF * sum(self.cost.values())
        if sum(rank * self.cost[m] for m, rank in ranks.items()) > limit:
            raise ValueError(f"the ranks cost more than the {limit:,} of the budget")
        states = self._states()
        for m, new in ranks.items():
            old = self.ranks[s][m]
            if new < old and shrink == "svd":
                self._to_singular(s, m, old)
            elif new < old:
                order = self._by_norm(s, m, old)
                for a, b in states:
                    a[m][s, :old], b[m][s, :, :old] = a[m][s, order], b[m][s][:, order]
            if new < old:
                for a, b in states:
                    a[m][s, new:], b[m][s, :, new:] = 0.0, 0.0
        (value, _), (second_a, second_b) = states[0], states[2]
        grown = {m: new - self.ranks[s][m] for m, new in ranks.items() if new > self.ranks[s][m]}
        along = self._along_gradient(s, grown) if s in self._along and grown else {}
        for m, new in ranks.items():
            old = self.ranks[s][m]
            if new > old:
                value[m][s, old:new] = along.get(m, self._fresh(s, m, new - old))
                second_a[m][s, old:new] = second_a[m][s, :old].mean(0)
                second_b[m][s, :, old:new] = second_b[m][s, :, :old].mean(1, keepdim=True)
        self.ranks[s] = dict(ranks)
        if self._hold[s] in ("rate", "both"):
            for paces in self._views(self._pace):
                for m, r in ranks.items():
                    paces[m][s] = R_REF / r
        if self._hold[s] in ("scale", "both"):
            for m, r in ranks.items():
                self._rescale(s, m, SCALE * R_REF / r)

    def _rescale(self, s: int, m: str, scale: float) -> None:
        """Give a module another scale; s B A stays as it is, and B's moments turn with B."""
        factor = scale / float(self._scale[m][s])
        for (_, b), power in zip(self._states(), (-1, 1, 2), strict=True):
            b[m][s] *= factor**power
        self._scale[m][s] = scale

    def _states(self) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Return (A, B) of the values, the first and the second moments."""
        return [self._views(flat) for flat in (self._flat, self._first, self._second)]

    def _by_norm(self, s: int, m: str, r: int) -> Tensor:
        size = self.a[m][s, :r].norm(dim=1) * self.b[m][s, :, :r].norm(dim=0)
        return torch.argsort(size, descending=True, stable=True)

    def _to_singular(self, s: int, m: str, r: int) -> None:
        """Replace A by V A and B by B T, whose components are the singular directions, falling.

        Gradients become T^T dA and dB V^T, so first moments turn with them exactly, second moments
        by the squared matrices.
        """
        states = self._states()
        a, b = (x[m][s].double() for x in states[0])
        rb, ra = torch.linalg.qr(b[:, :r]).R, torch.linalg.qr(a[:r].mT).R
        u, sigma, wt = torch.linalg.svd(rb @ ra.mT)
        root = sigma.clamp(min=1e-12).sqrt()
        v = (torch.linalg.pinv(ra.mT).mT @ wt.mT * root).mT
        t = torch.linalg.pinv(rb) @ u * root
        turns = (v, t), (t.mT, v.mT), (t.mT.square(), v.mT.square())
        for (of_a, of_b), (to_a, to_b) in zip(states, turns, strict=True):
            of_a[m][s, :r] = (to_a @ of_a[m][s, :r].double()).float()
            of_b[m][s, :, :r] = (of_b[m][s, :, :r].double() @ to_b).float()


class StudentLoop:
    """One of many students as the product's controller sees it (`TrailingLoop`)."""

    def __init__(self, students: Students, s: int) -> None:
        self._students = students
        self._s = s

    def spectra(self) -> dict[str, list[float]]:
        """Return the singular values of s B A by module."""
        return self._students.spectrum(self._s)

    def held_out_losses(self, step: int, batches: int) -> list[float]:
        """Return losses on the batches that follow the students' step."""
        return self._students.following(self._s, batches)

    def truncated(self, ranks: Mapping[str, int]) -> AbstractContextManager[None]:
        """Keep only the first directions of modules inside the block."""
        return self._students.truncated(self._s, ranks)

    def resize(self, rank_map: RankMap, step: int, shrink: Any = None) -> None:
        """Bring the student to `rank_map`."""
        self._students.resize(self._s, dict(rank_map))
