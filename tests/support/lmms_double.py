"""The part of lmms-eval 0.7 that a model meets, written anew: names, signatures and checks.

Stands in for the real package, whose hundred dependencies tests do without. The same tests run
against the real one where it can be imported, which keeps this one honest.
"""

from __future__ import annotations

import abc
import importlib
import sys
from dataclasses import dataclass, field
from importlib import metadata
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.simple_class_path is None and self.chat_class_path is None:
            raise ValueError("requires at least one class path")


class ModelRegistryV2:
    def __init__(self) -> None:
        self._models: dict[str, ModelManifest] = {}

    def load_entrypoint_manifests(self, group: str = "lmms_eval.models") -> None:
        for point in registry_module().entry_points().select(group=group):
            payload = point.load()
            manifest = payload() if callable(payload) else payload
            assert isinstance(manifest, ModelManifest)
            for name in (manifest.model_id, *manifest.aliases):
                self._models[name] = manifest

    def list_model_names(self) -> list[str]:
        return sorted(self._models)

    def get_model_class(self, name: str) -> type:
        module, _, attribute = str(self._models[name].simple_class_path).rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        if not issubclass(found, lmms) or not found.is_simple:
            raise TypeError(f"{found} is no simple model")
        return found


class CacheHook:
    def __init__(self, cachinglm: Any = None) -> None:
        pass

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        pass


class lmms(abc.ABC):
    is_simple = True

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self.cache_hook = CacheHook()
        self.task_dict: dict[str, Any] = {}

    @abc.abstractmethod
    def loglikelihood(self, requests): ...

    @abc.abstractmethod
    def generate_until(self, requests): ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests): ...

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict | None = None):
        pairs = (part.split("=", 1) for part in arg_string.split(",") if part)
        more = {k: v for k, v in (additional_config or {}).items() if v is not None}
        return cls(**dict(pairs), **more)

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def world_size(self) -> int:
        return self._world_size


@dataclass
class Instance:
    request_type: str
    arguments: tuple
    idx: int
    metadata: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task_name = self.metadata["task"]
        self.doc_id, self.repeats = self.metadata["doc_id"], self.metadata["repeats"]

    @property
    def args(self) -> tuple:
        return self.arguments if isinstance(self.arguments, tuple) else (self.arguments,)


def registry_module() -> ModuleType:
    return sys.modules["lmms_eval.models.registry_v2"]


def modules() -> dict[str, ModuleType]:
    """Return the double as modules by name, to be put into `sys.modules`."""
    contents: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": lmms, "CacheHook": CacheHook},
        "lmms_eval.api.instance": {"Instance": Instance},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {
            "ModelManifest": ModelManifest,
            "ModelRegistryV2": ModelRegistryV2,
            "entry_points": metadata.entry_points,
        },
    }
    made = {}
    for name, objects in contents.items():
        made[name] = ModuleType(name)
        made[name].__path__ = []
        vars(made[name]).update(objects)
    return made
