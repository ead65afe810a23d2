"""Which tensor of which file becomes which of ours: every one is mapped, ignored or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.safetensors_io import Form
from hydra_mobile.models.checkpoints.keys import Layout
from hydra_mobile.models.checkpoints.weights import WeightFiles
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.on_meta import on_meta

# Names of each kind of misfit that a message shows.
_SHOWN = 5
_HEAD = "language_model.lm_head.weight"


@dataclass(frozen=True)
class Source:
    """A checkpoint, or the part of it that is wanted.

    Attributes:
        files: its tensors.
        layout: how it names them.
        wanted: whether a tensor, by our name, is to come from here; others are ignored.
    """

    files: WeightFiles
    layout: Layout
    wanted: Callable[[str], bool] = lambda name: True


@dataclass
class Matched:
    """Where each tensor of a model comes from.

    Attributes:
        forms: dtype and shape by our name, in the order of the files.
        ignored: keys that were left out by design, with the reason.
    """

    forms: dict[str, Form] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    _origin: dict[str, tuple[WeightFiles, str]] = field(default_factory=dict)
    _made: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, files: WeightFiles, key: str) -> None:
        """Let a tensor come from a file."""
        self.forms[name] = files.forms[key]
        self._origin[name] = (files, key)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Add tensors that come from no file, by our names."""
        self._made.update(tensors)
        self.forms.update({n: Form(t.dtype, tuple(t.shape)) for n, t in tensors.items()})

    def read(self, name: str) -> Tensor:
        """Return a tensor by our name."""
        if name in self._made:
            return self._made[name]
        files, key = self._origin[name]
        return files.read(key)


def expected_shapes(config: MobileVLMConfig) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return the shape of every tensor that a model stores, and its embeddings per picture.

    Nothing is allocated. A head that is the embedding table is not stored.
    """
    from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration

    model = on_meta(lambda: MobileVLMForConditionalGeneration(config))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    text: Any = config.text_config
    if text.tie_word_embeddings:
        shapes.pop(_HEAD, None)
    return shapes, int(model.projector.num_tokens)  # type: ignore[arg-type]


def match(
    expected: Mapping[str, tuple[int, ...]], sources: Sequence[Source], tied: bool
) -> Matched:
    """Find a tensor for every expected name, and a name for every tensor.

    Args:
        expected: shape by our name.
        sources: where tensors come from.
        tied: whether the head is the embedding table; a stored head is then ignored.

    Raises:
        ArtifactError: tensors are missing, unknown, given twice or of another shape: says how
            many, and names them with what was found and what was expected.
    """
    matched = Matched()
    unknown, misshapen, twice = [], [], []
    for source in sources:
        for key, form in source.files.forms.items():
            name = source.layout.ours(key)
            if source.layout.ignored(key):
                matched.ignored.append(f"{key} (not needed)")
            elif name == _HEAD and tied:
                matched.ignored.append(f"{key} (is the embedding table)")
            elif name is not None and not source.wanted(name):
                matched.ignored.append(f"{key} (replaced)")
            elif name is None or name not in expected:
                unknown.append(f"`{key}` {form.shape} in {source.files.folder.name}")
            elif form.shape != expected[name]:
                misshapen.append(f"`{key}` is {form.shape}, expected {expected[name]}")
            elif name in matched.forms:
                twice.append(f"`{key}`")
            else:
                matched.take(name, source.files, key)
    found = {*matched.forms, *_names_of(sources)}
    missing = [
        f"`{_their_key(sources, name)}` {shape}"
        for name, shape in expected.items()
        if name not in found
    ]
    problems = [
        f"{len(entries)} {what}: {_listed(entries)}"
        for entries, what in (
            (missing, "missing"),
            (unknown, "unknown"),
            (misshapen, "of another shape"),
            (twice, "given twice"),
        )
        if entries
    ]
    if problems:
        where = " and ".join(str(source.files.folder) for source in sources)
        raise ArtifactError(
            f"The tensors of {where} are not those of the model that the configuration describes; "
            f"nothing was imported. {'; '.join(problems)}.",
            "The configuration belongs to another checkpoint, or files are missing.",
        )
    return matched


def _names_of(sources: Sequence[Source]) -> set[str | None]:
    """Return our names of all tensors wanted, misshapen ones too: those are not missing."""
    return {
        name
        for source in sources
        for name in map(source.layout.ours, source.files.forms)
        if name is not None and source.wanted(name)
    }


def _their_key(sources: Sequence[Source], name: str) -> str:
    for source in sources:
        key = source.layout.theirs(name)
        if key is not None and source.wanted(name):
            return key
    return name


def _listed(entries: Sequence[str]) -> str:
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more
