"""The adapter folder: plain peft LoRA with a rank per module, read by stock peft without our code.

One scalar `lora_alpha`, no `alpha_pattern`, exact names. Readers scale a module by
lora_alpha / rank, so the scale s that a module has in training is folded into B, in fp32:
B_saved = B * (s * rank / lora_alpha). `hydra.json` next to it holds what peft has no place for:
the base's hash, the budget and the hashes of the files. A saved folder is verified by loading it
with stock peft before the save counts as done (`roundtrip.py`).

The file is for inference, merging and exchange; training continues from its own checkpoints.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.compensation import Compensate
from hydra_mobile.adapters.folder_files import (
    CONFIG_FILE,
    HYDRA_FILE,
    TENSOR_FILE,
    adapter_files,
    beside,
    is_plain_peft,
    plain_tensors,
)
from hydra_mobile.adapters.identity import BaseIdentity
from hydra_mobile.adapters.lora import inject, lora_config
from hydra_mobile.adapters.lora_layers import ADAPTER, lora_layers, lora_tensors
from hydra_mobile.adapters.model_card import model_card
from hydra_mobile.adapters.peft_folder import peft_tensors, read_pickled, without_wrappers
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.roundtrip import verify
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.folders import Mark, folder_atomically
from hydra_mobile.core.integrity import hashes_of, require_recorded

SCHEMA = 1
_MARK = Mark(HYDRA_FILE, "a HyDRA adapter")
_PREFIX = "base_model.model."
_TEXT = "language_model"

#: Gives a base's name for another project's name of a tensor, None where it knows none.
Rename = Callable[[str], str | None]
_RECORD_KEYS = (
    "base", "r_ref", "alpha_ref", "parameters", "files", "rank_digest", "cost_per_rank"
)  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """An adapter folder in memory.

    Attributes:
        folder: where it was read from.
        rank_map: rank by module name.
        tensors: A (rank, in) and B (out, rank) by module name, as saved (scale folded into B).
        alpha: the scalar `lora_alpha`.
        budget: the parameter budget it was trained under.
        base: the base it belongs to.
        extra_tensors: whole tensors trained along with it, by file and full tensor name.
        config: adapter_config.json.
        record: hydra.json.
    """

    folder: Path
    rank_map: RankMap
    tensors: dict[str, tuple[Tensor, Tensor]]
    alpha: float
    budget: Budget
    base: BaseIdentity
    extra_tensors: dict[str, dict[str, Tensor]]
    config: dict[str, Any]
    record: dict[str, Any]

    def delta(self, name: str) -> Tensor:
        """Return what the adapter adds to a module's weight, shape (out, in), fp32."""
        a, b = self.tensors[name]
        return (b.float() @ a.float()) * (self.alpha / self.rank_map[name])


def save_adapter(
    model: nn.Module,
    folder: Path,
    *,
    rank_map: RankMap,
    budget: Budget,
    alpha_ref: float,
    base: BaseIdentity,
    extra_tensors: Mapping[str, Mapping[str, Tensor]] | None = None,
    extra_files: Mapping[str, str] | None = None,
    load_base: Sequence[str] = (),
    pipeline_tag: str = "",
    trained_for: str = "",
    compensate: Compensate = "neither",
) -> None:
    """Write the LoRA of `model` as a portable folder, atomically, read again and compared.

    The same tensors give the same files, byte for byte.

    Args:
        model: carries LoRA from `inject`.
        folder: the folder to write or replace.
        rank_map: the ranks that the model should have.
        budget: the parameter budget; the scale is alpha_ref / budget.r_ref.
        alpha_ref: becomes `lora_alpha`.
        base: identity of the base model; must have a hash.
        extra_tensors: `{file name: {full tensor name as in the base's state dict: tensor}}`,
            for example `{"projector.safetensors": {...}}`; saved as they are.
        extra_files: `{file name: text}` to add to it.
        load_base: lines of Python for the card that load the base as `base`.
        pipeline_tag: for the card, the hub's name of the model's task.
        trained_for: preset whose rounding training has seen (`qat.py`); "": none.
        compensate: what of a module fell as r_ref / rank in training, for the record.

    Raises:
        BudgetError: the live tensors exceed the budget.
        ArtifactError: the live ranks differ from the map, the base has no hash, or stock peft
            reads something else than was written. No folder is left then.
    """
    if not base.sha256:
        raise ArtifactError(
            f"The base `{base.name}` has no hash: the adapter could not be distinguished from "
            "others.",
            "Use `base_identity` of the base's folder.",
        )
    live = lora_tensors(model)
    scales = {name: layer.scaling[ADAPTER] for name, layer in lora_layers(model).items()}
    used = budget.check_live(model)
    if {name: a.shape[0] for name, (a, _) in live.items()} != dict(rank_map):
        raise ArtifactError("The model's LoRA ranks are not those of the rank map to save.")
    extra_tensors = extra_tensors or {}
    with folder_atomically(folder, mark=_MARK) as temporary:
        _save(folded_tensors(live, scales, alpha_ref, budget.r_ref), temporary / TENSOR_FILE)
        for file, tensors in extra_tensors.items():
            _save(dict(tensors), temporary / file)
        write_json(temporary / CONFIG_FILE, peft_config(rank_map, alpha_ref, base.name))
        for file, text in (extra_files or {}).items():
            (temporary / file).write_text(text)
        record = {
            "schema": SCHEMA,
            "base": base.to_dict(),
            "scale": alpha_ref / budget.r_ref,
            "r_ref": budget.r_ref,
            "alpha_ref": alpha_ref,
            "parameters": {"lora": used, "lora_reference": budget.reference}
            | {file: sum(t.numel() for t in ts.values()) for file, ts in extra_tensors.items()},
            "files": hashes_of(
                temporary, {TENSOR_FILE, CONFIG_FILE, *extra_tensors, *(extra_files or {})}
            ),
            "rank_digest": rank_map.digest(),
            "ranks": dict(rank_map),
            "cost_per_rank": dict(budget.cost),
            **({"trained_for": trained_for} if trained_for else {}),
            **({"compensate": compensate} if compensate != "neither" else {}),
        }
        write_json(temporary / HYDRA_FILE, record)
        (temporary / "README.md").write_text(
            model_card(record, sorted(extra_tensors), load_base, pipeline_tag), encoding="utf-8"
        )
        verify(temporary, model, rank_map, budget)


def read_adapter(folder: Path, *, base: BaseIdentity | None = None) -> Adapter:
    """Read and check an adapter folder written by `save_adapter` or by stock peft.

    One of stock peft has no record of its base: that part of the check is left out.

    Args:
        folder: the adapter folder.
        base: when given, the adapter must belong to this base.

    Raises:
        ArtifactError: a file is missing, cut short or altered, tensors and configuration do not
            belong together, or the adapter belongs to another base.
        BudgetError: its ranks cost more than its budget allows.
    """
    config = read_json(folder / CONFIG_FILE, "the configuration of a peft adapter")
    if is_plain_peft(folder):
        return _read_plain(folder, config)
    record = read_json(folder / HYDRA_FILE, "the record of a HyDRA adapter")
    if record.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{folder / HYDRA_FILE} has schema {record.get('schema')!r}; this version reads "
            f"{SCHEMA}."
        )
    missing = [key for key in _RECORD_KEYS if key not in record]
    if missing:
        raise ArtifactError(f"{folder / HYDRA_FILE} lacks the key `{missing[0]}`.")
    own = BaseIdentity.from_dict(record["base"])
    require_same_base(folder, own, base)
    recorded: dict[str, str] = record["files"]
    tensor_files = [file for file in recorded if file.endswith(".safetensors")]
    files = {file: read_safetensors(folder / file) for file in tensor_files}
    fix = "Take the adapter again from the run that made it."
    require_recorded(folder, {file: recorded[file] for file in tensor_files}, HYDRA_FILE, fix)
    tensors = _pairs(folder, files.pop(TENSOR_FILE))
    rank_map = RankMap({name: a.shape[0] for name, (a, _) in tensors.items()})
    _require_config_agrees(folder, config, rank_map, record)
    # Behind the comparison of their content, which says more about what is wrong.
    require_recorded(folder, recorded, HYDRA_FILE, fix)
    budget = Budget(record["cost_per_rank"], record["r_ref"])
    budget.check(rank_map)
    alpha = float(config["lora_alpha"])
    return Adapter(folder, rank_map, tensors, alpha, budget, own, files, config, record)


def load_adapter(
    model: nn.Module,
    folder: Path,
    *,
    base: BaseIdentity | None = None,
    rename: Rename = lambda name: None,
) -> Adapter:
    """Put an adapter into its base, unmerged, its extra tensors too; in place.

    Arguments and errors as in `read_adapter` and `located`; ArtifactError also when an extra
    tensor is not in the model. The layers keep the folded B and scale lora_alpha / rank of the
    file.
    """
    state = model.state_dict()
    adapter = located(read_adapter(folder, base=base), state, rename)
    for file, extra in adapter.extra_tensors.items():
        for name, tensor in extra.items():
            if name not in state or state[name].shape != tensor.shape:
                raise ArtifactError(
                    f"{folder / file} holds `{name}` {tuple(tensor.shape)}, the model does not."
                )
            state[name].copy_(tensor)
    budget = adapter.budget
    inject(model, adapter.rank_map, r_ref=budget.r_ref, alpha_ref=adapter.alpha)
    layers = lora_layers(model)
    with torch.no_grad():
        for name, (a, b) in lora_tensors(model).items():
            a.copy_(adapter.tensors[name][0])
            b.copy_(adapter.tensors[name][1])
            layers[name].scaling[ADAPTER] = adapter.alpha / adapter.rank_map[name]
    budget.check_live(model)
    return adapter


def located(
    adapter: Adapter, names: Collection[str], rename: Rename = lambda name: None
) -> Adapter:
    """Return an adapter with its modules named as in a model whose tensors are `names`.

    One that was trained on the language model alone lacks the part's prefix; one of another
    project may have other names.
    """

    def full(name: str, ending: str = "") -> str:
        found = name + ending
        if found in names:
            return name
        others = (f"{_TEXT}.{found}", rename(found) or "")
        return next((n.removesuffix(ending) for n in others if n in names), name)

    extra = {
        file: {full(name): tensor for name, tensor in tensors.items()}
        for file, tensors in adapter.extra_tensors.items()
    }
    return dataclasses.replace(
        adapter,
        rank_map=RankMap({full(n, ".weight"): rank for n, rank in adapter.rank_map.items()}),
        tensors={full(n, ".weight"): pair for n, pair in adapter.tensors.items()},
        budget=Budget(
            {full(n, ".weight"): cost for n, cost in adapter.budget.cost.items()},
            adapter.budget.r_ref,
        ),
        extra_tensors=extra,
    )


def require_same_base(folder: Path, own: BaseIdentity, other: BaseIdentity | None) -> None:
    """Raise `ArtifactError` if the adapter in `folder` belongs to another base than `other`."""
    # Stock peft keeps no hash of the base.
    if other is not None and own.sha256 and own.sha256 != other.sha256:
        moved = own.revision and own.revision != other.revision
        raise ArtifactError(
            f"The adapter in {folder} was trained on base `{own.name}` ({own.short()}), "
            f"this base is `{other.name}` ({other.short()}).",
            f"Use the base of that commit: `OWNER/NAME@{own.revision}` names it, whatever the hub "
            "serves today."
            if moved
            else "Use the base that the adapter was trained on.",
        )


def folded_tensors(
    live: Mapping[str, tuple[Tensor, Tensor]],
    scales: Mapping[str, float],
    alpha_ref: float,
    r_ref: int,
) -> dict[str, Tensor]:
    """Return the tensors under peft's file names, scales folded into B, in fp32 on the CPU."""
    folded: dict[str, Tensor] = {}
    for name, (a, b) in live.items():
        # scale * rank / lora_alpha with lora_alpha = alpha_ref. At the scale alpha_ref / r_ref the
        # second factor is exactly one.
        factor = a.shape[0] / r_ref * (scales[name] / (alpha_ref / r_ref))
        folded[f"{_PREFIX}{name}.lora_A.weight"] = a.detach().float().cpu()
        folded[f"{_PREFIX}{name}.lora_B.weight"] = (b.detach().float() * factor).cpu()
    return folded


def peft_config(rank_map: RankMap, alpha: float, base_name: str) -> dict[str, Any]:
    """Return adapter_config.json: scalar alpha, empty alpha_pattern, full escaped names."""
    config = lora_config(rank_map, r_ref=1, alpha_ref=alpha)
    config.alpha_pattern = {}
    config.base_model_name_or_path = base_name
    config.inference_mode = True
    values: dict[str, Any] = config.to_dict()
    values["target_modules"] = sorted(rank_map)
    # llama.cpp and older readers expect an integer where one will do.
    values["lora_alpha"] = int(alpha) if float(alpha).is_integer() else alpha
    return values


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ArtifactError: it is missing, cut short or no safetensors file.
    """
    try:
        return dict(load_file(path))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing.") from None
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is not a complete safetensors file ({error}).",
            "It was cut short or altered; make it or copy it again.",
        ) from error


def _read_plain(folder: Path, config: dict[str, Any]) -> Adapter:
    """Read an adapter of stock peft."""
    file = folder / plain_tensors(folder)
    read = read_pickled if file.suffix == ".bin" else read_safetensors
    found = peft_tensors(file, config, read(file))
    cost = {name: a.shape[1] + b.shape[0] for name, (a, b) in found.pairs.items()}
    if not cost:
        raise ArtifactError(
            f"{file} holds no LoRA tensor.",
            "Expected an adapter that changes at least one linear.",
        )
    rank_map = RankMap({name: a.shape[0] for name, (a, _) in found.pairs.items()})
    record = {
        "parameters": {"lora": sum(a.numel() + b.numel() for a, b in found.pairs.values())},
        "files": adapter_files(folder),
    }
    extra = {file.name: found.whole} if found.whole else {}
    extra |= {name: without_wrappers(read_pickled(folder / name)) for name in beside(folder)}
    base = BaseIdentity(str(config.get("base_model_name_or_path") or ""), "")
    return Adapter(
        folder,
        rank_map,
        found.pairs,
        found.alpha,
        Budget(cost, max(rank_map.values())),
        base,
        extra,
        config,
        record,
    )


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    ready = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    save_file(ready, path, metadata={"format": "pt"})


def _pairs(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Pair A and B by module name."""
    pattern = re.compile(re.escape(_PREFIX) + r"(.+)\.lora_([AB])\.weight")
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = pattern.fullmatch(key)
        if match is None:
            raise ArtifactError(
                f"{folder / TENSOR_FILE} holds `{key}`, which is not a LoRA tensor."
            )
        found.setdefault(match[1], {})[match[2]] = tensor
    for name, sides in found.items():
        if len(sides) != 2 or sides["A"].shape[0] != sides["B"].shape[1]:
            raise ArtifactError(
                f"{folder / TENSOR_FILE}: A and B of `{name}` are not both there with one rank.",
                "Take the adapter again from the run that made it.",
            )
    return {name: (sides["A"], sides["B"]) for name, sides in found.items()}


def _require_config_agrees(
    folder: Path, config: Mapping[str, Any], rank_map: RankMap, record: Mapping[str, Any]
) -> None:
    pattern = {re.escape(name): rank for name, rank in rank_map.items()}
    agrees = (
        config.get("rank_pattern") == pattern
        and set(config.get("target_modules") or ()) == set(rank_map)
        and not config.get("alpha_pattern")
        and not config.get("use_rslora")
        and not config.get("use_dora")
        and rank_map.digest() == record["rank_digest"]
        and config.get("lora_alpha") == record["alpha_ref"]
    )
    if not agrees:
        raise ArtifactError(
            f"{folder / CONFIG_FILE} does not describe the tensors in {TENSOR_FILE}.",
            "One of the two was edited; take the adapter again from the run that made it.",
        )
