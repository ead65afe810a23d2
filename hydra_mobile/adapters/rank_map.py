"""The rank map: which linear gets which LoRA rank.

Pure data: knows nothing of torch, of parameters' cost, or of who chose the ranks. Written by the
policies, read by everything that builds, saves or reports an adapter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.json_text import dumps, loads

SCHEMA = 1


class RankMap(Mapping[str, int]):
    """An immutable `{fully qualified module name: rank}`, in the order given.

    Names are as seen from the base model, for example
    `language_model.model.layers.0.self_attn.q_proj`. A rank of 0 means "no adapter": such entries
    are dropped here, because peft knows no rank 0.

    Raises:
        ValueError: a rank is negative or is not an integer.
    """

    __slots__ = ("_ranks",)

    def __init__(self, ranks: Mapping[str, int]) -> None:
        for name, rank in ranks.items():
            if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
                raise ValueError(f"rank of `{name}` is {rank!r}, expected an integer >= 0")
        self._ranks = {name: rank for name, rank in ranks.items() if rank}

    def __getitem__(self, name: str) -> int:
        return self._ranks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ranks)

    def __len__(self) -> int:
        return len(self._ranks)

    def __hash__(self) -> int:
        return hash(frozenset(self._ranks.items()))

    def __repr__(self) -> str:
        ranks = sorted(set(self._ranks.values()))
        return f"RankMap({len(self)} modules, ranks {ranks}, {self.digest()[:12]})"

    def digest(self) -> str:
        """Return a sha256 of names and ranks that does not depend on their order."""
        lines = (f"{name}={rank}\n" for name, rank in sorted(self._ranks.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the map as JSON text; `from_json` reads it back."""
        return dumps({"schema": SCHEMA, "digest": self.digest(), "ranks": self._ranks})

    @classmethod
    def from_json(cls, text: str, source: str = "rank map") -> RankMap:
        """Read what `to_json` wrote, or a plain `{name: rank}` that a person wrote.

        Args:
            text: the JSON text.
            source: names the text in messages, usually a path.

        Raises:
            ArtifactError: no JSON, no map of names to ranks, or ranks that miss their digest.
        """
        try:
            value = loads(text)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{source} is not readable JSON ({error}).") from error
        return cls._from_value(value, source)

    def write(self, path: Path) -> None:
        """Write the map to a JSON file, atomically."""
        write_json(path, loads(self.to_json()))

    @classmethod
    def read(cls, path: Path) -> RankMap:
        """Read a map from a JSON file.

        Raises:
            ArtifactError: as `from_json`, or the file is missing.
        """
        return cls._from_value(read_json(path, "a rank map"), str(path))

    @classmethod
    def _from_value(cls, value: object, source: str) -> RankMap:
        ranks = value.get("ranks", value) if isinstance(value, dict) else None
        fix = 'Expected {"schema": 1, "ranks": {"module.name": rank, ...}}.'
        if not isinstance(ranks, dict) or not isinstance(value, dict):
            raise ArtifactError(f"{source} holds no rank map.", fix)
        if value.get("schema", SCHEMA) != SCHEMA and "ranks" in value:
            raise ArtifactError(
                f"{source} has schema {value['schema']!r}; this version reads {SCHEMA}."
            )
        try:
            rank_map = cls(ranks)
        except ValueError as error:
            raise ArtifactError(f"{source}: {error}.", fix) from None
        digest = value.get("digest") if "ranks" in value else None
        if digest is not None and digest != rank_map.digest():
            raise ArtifactError(
                f"{source}: the ranks do not have the digest written with them.",
                "If you edited the ranks on purpose, delete the `digest` line.",
            )
        return rank_map
