"""`estimate`: what a training run needs of GPUs, or a bundle of a phone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from hydra_mobile.api.paths import path_of
from hydra_mobile.api.training import ConfigLike
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.lora_manifest import split_selection
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.bundle.memory.footprint import Footprint
from hydra_mobile.bundle.memory.phones import CLASSES, Fit, fit_on
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.core.quiet import quietly
from hydra_mobile.estimation.asked import Asked
from hydra_mobile.reporting.notebook import html_table

if TYPE_CHECKING:
    from hydra_mobile.estimation.plan import Plan

__all__ = ["Asked", "PhoneMemory", "estimate", "memory_of", "plan_of"]


@dataclass(frozen=True)
class PhoneMemory:
    """How much memory a bundle takes on a phone.

    Attributes:
        path: the bundle.
        footprint: bytes, by what they are for.
        basis: how far the figures can be trusted.
        phones: whether it fits, by the phone's memory.
    """

    path: Path
    footprint: Footprint
    basis: str
    phones: tuple[Fit, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file; memory in bytes."""
        return {
            "bundle": str(self.path),
            "basis": self.basis,
            "bytes": self.footprint.to_dict(),
            "phones": [
                {
                    "memory_gib": fit.memory_gib,
                    "usable_bytes": fit.usable,
                    "needed_bytes": fit.needed,
                    "fits": fit.fits,
                }
                for fit in self.phones
            ],
        }

    def data(self) -> dict[str, Any]:
        """Return plain values as the command line prints them: a phone asked for is `asked`."""
        phones = self.to_dict()["phones"]
        data = {"basis": self.basis, "bytes": self.footprint.to_dict(), "phones": phones}
        if len(phones) > len(CLASSES):
            data["asked"] = phones[-1]
            data["phones"] = phones[: len(CLASSES)]
        return data

    def _repr_html_(self) -> str:
        rows = (
            (
                f"{fit.memory_gib:g} GiB",
                f"{fit.usable / 2**30:.2f} GiB",
                f"{fit.needed / 2**30:.2f} GiB",
                "fits" if fit.fits else "does not fit",
            )
            for fit in self.phones
        )
        return html_table(("phone", "usable by one app", "needed at the peak", ""), rows)


@overload
def estimate(model: Bundle, *, device_memory: float = ..., log: Log = ...) -> PhoneMemory: ...


@overload
def estimate(
    model: ConfigLike,
    *overrides: str,
    gpus: int = ...,
    gpu_memory: float = ...,
    device_memory: float = ...,
    samples: tuple[int, int] = ...,
    tokens: tuple[int, int] = ...,
    global_batch: int = ...,
    samples_per_second: float = ...,
    measured: str | Path | None = ...,
    log: Log = ...,
    **sections: Any,
) -> Plan | PhoneMemory: ...


def estimate(
    model: Bundle | ConfigLike,
    *overrides: str,
    gpus: int = 1,
    gpu_memory: float = 80.0,
    device_memory: float = 0.0,
    samples: tuple[int, int] = (0, 0),
    tokens: tuple[int, int] = (0, 0),
    global_batch: int = 0,
    samples_per_second: float = 0.0,
    measured: str | Path | None = None,
    log: Log = silent,
    **sections: Any,
) -> Plan | PhoneMemory:
    """Estimate a training run on GPUs, or a bundle on a phone; neither is needed for it.

    Args:
        model: a configuration as `train` takes it, or a bundle (object, folder or hub id).
        overrides: `section.key=value` over the configuration.
        gpus: GPUs of the run, one process each.
        gpu_memory: of each, in GiB.
        device_memory: for a bundle, the memory of one more phone to judge, in GiB.
        samples: conversations of stages I and II; 0: count the file.
        tokens: longest row of stages I and II; 0: what the configuration allows.
        global_batch: conversations per step of stage II to keep; 0: as configured.
        samples_per_second: rate of all GPUs together, for hours.
        measured: a run whose log gives that rate.
        log: receives a line while steps are simulated.
        sections: values over the configuration, as `train` takes them.

    Raises:
        ConfigError: a key or value of the settings is wrong, or the base is not known.
        ArtifactError: the bundle is incomplete.
    """
    if isinstance(model, str | Path) and Path(model).suffix not in (".yaml", ".yml"):
        folder = Path(path_of(model, log))
        # The name of a configuration is no folder.
        if (split_selection(folder)[0] / MANIFEST).is_file():
            model = Bundle.open(folder, verify_hashes=False)
    if isinstance(model, Bundle):
        return memory_of(model, device_memory)
    rate = Path(measured) if measured else None
    asked = Asked(gpus, gpu_memory, samples, tokens, global_batch, samples_per_second, rate)
    return plan_of(load_config(model, overrides, sections), asked, log)


def memory_of(bundle: Bundle, device_memory: float = 0.0) -> PhoneMemory:
    """Estimate a bundle on a phone; see `estimate`."""
    from hydra_export.targets import target_of

    target = target_of(bundle.manifest)
    footprint = target.memory(bundle.manifest)
    sizes = (*CLASSES, device_memory) if device_memory else CLASSES
    fits = tuple(fit_on(footprint, memory) for memory in sizes)
    return PhoneMemory(bundle.path, footprint, target.memory_basis, fits)


def plan_of(config: TrainConfig, asked: Asked, log: Log = silent) -> Plan:
    """Estimate a training run on GPUs; see `estimate`."""
    with quietly():
        from hydra_mobile.estimation.plan import make_plan

        return make_plan(config, asked, log)
