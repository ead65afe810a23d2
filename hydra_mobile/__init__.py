"""hydra-mobile: fine-tune, export and evaluate mobile vision-language models.

    import hydra_mobile as hm

    run = hm.train("emojiqa-smol", "stage2.steps=400")
    merged = hm.merge(run)
    bundle = hm.export(merged, "android", runtime="onnx", preset="int4")
    hm.verify(bundle, merged=merged).require()
    print(hm.load(bundle).ask("picture.png", "What is it?").text)

Importing this package imports nothing heavy: a name below is loaded when it is first used. It also
makes transformers' Auto classes know the models of this project, in whichever order the two are
imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hydra_mobile.models.auto_classes import register_when_imported

if TYPE_CHECKING:
    from hydra_mobile.adapters.engine import Hydra
    from hydra_mobile.adapters.integrations.trainer_callback import HydraCallback
    from hydra_mobile.adapters.rank_map import RankMap
    from hydra_mobile.api.bases import compose, convert, fetch, import_model
    from hydra_mobile.api.bench import Measurements, bench
    from hydra_mobile.api.benchmarks import score
    from hydra_mobile.api.data import check_data
    from hydra_mobile.api.estimate import PhoneMemory, estimate
    from hydra_mobile.api.evaluate import Report, evaluate, side_by_side
    from hydra_mobile.api.export import add_adapter, export
    from hydra_mobile.api.merge import merge
    from hydra_mobile.api.model import Answer, Model, load
    from hydra_mobile.api.push import Pushed, push
    from hydra_mobile.api.ranks import RankRecord, replay
    from hydra_mobile.api.run import Run
    from hydra_mobile.api.training import dry_run, train
    from hydra_mobile.api.verify import verify
    from hydra_mobile.bundle.bundle import Bundle
    from hydra_mobile.config import TrainConfig
    from hydra_mobile.core.errors import HydraError
    from hydra_mobile.parity.suite import ParityResult

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Bundle",
    "Hydra",
    "HydraCallback",
    "HydraError",
    "Measurements",
    "Model",
    "ParityResult",
    "PhoneMemory",
    "Pushed",
    "RankMap",
    "RankRecord",
    "Report",
    "Run",
    "TrainConfig",
    "__version__",
    "add_adapter",
    "bench",
    "check_data",
    "compose",
    "convert",
    "dry_run",
    "estimate",
    "evaluate",
    "export",
    "fetch",
    "import_model",
    "load",
    "merge",
    "push",
    "replay",
    "score",
    "side_by_side",
    "train",
    "verify",
]

_HOME = {
    "Answer": "api.model",
    "Bundle": "bundle.bundle",
    "Hydra": "adapters.engine",
    "HydraCallback": "adapters.integrations.trainer_callback",
    "HydraError": "core.errors",
    "Measurements": "api.bench",
    "Model": "api.model",
    "ParityResult": "parity.suite",
    "PhoneMemory": "api.estimate",
    "Pushed": "api.push",
    "RankMap": "adapters.rank_map",
    "RankRecord": "api.ranks",
    "Report": "api.evaluate",
    "Run": "api.run",
    "TrainConfig": "config",
    "add_adapter": "api.export",
    "bench": "api.bench",
    "check_data": "api.data",
    "compose": "api.bases",
    "convert": "api.bases",
    "dry_run": "api.training",
    "estimate": "api.estimate",
    "evaluate": "api.evaluate",
    "export": "api.export",
    "fetch": "api.bases",
    "import_model": "api.bases",
    "load": "api.model",
    "merge": "api.merge",
    "push": "api.push",
    "replay": "api.ranks",
    "score": "api.benchmarks",
    "side_by_side": "api.evaluate",
    "train": "api.training",
    "verify": "api.verify",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hydra_mobile.core.quiet import quietly

    # What comes with it may be torch and all that torch has to say.
    with quietly():
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    # From here on it is an ordinary attribute.
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_when_imported()
