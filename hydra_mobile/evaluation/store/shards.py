"""Parts of a benchmark that different processes or machines answer, and how they are cut.

All questions about one picture stay in one part, so that its encoding serves them all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra_mobile.benchmarks.question import Question, picture_groups
from hydra_mobile.core.errors import ConfigError


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1; the default is the whole."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                f"--shard {self.number}/{self.count} is no part of a whole.",
                f"Give i/n with i from 1 to n, for example 1/{max(2, self.count)}.",
            )

    @property
    def whole(self) -> bool:
        """Whether this is everything."""
        return self.count == 1

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return f"shard-{self.number}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, questions: Sequence[Question]) -> list[Question]:
        """Return this part of `questions`: every `count`-th picture with all that is asked of it.

        Neighboring pictures go to different parts, so that parts take about equally long.
        """
        groups = picture_groups(questions)
        return [item for group in groups[self.number - 1 :: self.count] for item in group]

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "i/n".

        Raises:
            ConfigError: anything else.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if not found:
            raise ConfigError(
                f"--shard {text!r} is not of the form i/n.", "For example 1/4, 2/4, 3/4 and 4/4."
            )
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of_process(cls, environment: Mapping[str, str] = os.environ) -> Shard | None:
        """Return the part that torchrun gives this process; None when it did not start it.

        Raises:
            ConfigError: its variables are no numbers or do not fit each other.
        """
        if "RANK" not in environment or "WORLD_SIZE" not in environment:
            return None
        rank, world = environment["RANK"], environment["WORLD_SIZE"]
        if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
            raise ConfigError(
                f"RANK={rank!r} and WORLD_SIZE={world!r} name no process of a group.",
                "Start with torchrun, or unset both.",
            )
        return cls(int(rank) + 1, int(world)) if int(world) > 1 else None

    @classmethod
    def asked(cls, text: str) -> tuple[Shard, bool]:
        """Return the part of this process, and whether torchrun's others answer the rest.

        Args:
            text: "i/n"; "": the whole, or what torchrun gives this process.

        Raises:
            ConfigError: it is neither, or there are both.
        """
        group = cls.of_process()
        if group and text:
            raise ConfigError("--shard and torchrun both name a part", "give one of them")
        if group:
            return group, True
        return (cls.parse(text) if text else WHOLE), False


#: All questions.
WHOLE = Shard()
