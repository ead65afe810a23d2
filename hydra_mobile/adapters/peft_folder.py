"""LoRA adapters of stock peft, without our record: read by peft's own rules.

A module's scale is lora_alpha / rank, or lora_alpha / sqrt(rank) with rsLoRA; rank and alpha may be
other ones for modules that `rank_pattern` and `alpha_pattern` match (peft, `tuners/lora/layer.py`,
`update_layer`). The scale is folded into B, so that what is read has one scalar alpha, as ours.
What is no plain LoRA on linears is refused by the name of its setting.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_mobile.adapters.folder_files import CONFIG_FILE
from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import ArtifactError

_PREFIX = "base_model.model."
# What in a regular expression repeats: a group, or anything.
_SLOW = re.compile(r"\)[*+{]")
_REPEATS = re.compile(r"[*+{]")
_MOST_REPEATS = 3
_LORA = re.compile(r"(.+)\.lora_([AB])\.(?:default\.)?weight")
#: Settings under which an adapter is not plain LoRA, with the value that plain LoRA has.
_OTHER_KINDS: dict[str, Any] = {
    "use_dora": False,
    "use_qalora": False,
    "use_bdlora": None,
    "bias": "none",
    "lora_bias": False,
    "fan_in_fan_out": False,
    "layer_replication": None,
    "megatron_config": None,
    "trainable_token_indices": None,
    "target_parameters": None,
    "alora_invocation_tokens": None,
    "arrow_config": None,
    "kasa_config": None,
    "velora_config": None,
    "monteclora_config": None,
}
#: Starts of `init_lora_weights` that subtract something from the base's weights.
_CHANGED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")
_WAY_OUT = (
    "Merge it with peft (`AutoPeftModel...from_pretrained(...).merge_and_unload()`, then "
    "`save_pretrained`) and go on with the merged folder."
)


@dataclass(frozen=True)
class PeftTensors:
    """What an adapter of stock peft changes.

    Attributes:
        pairs: A (rank, in) and B (out, rank) by module name; the scale is folded into B, so that
            alpha / rank is what is left.
        alpha: the scalar `lora_alpha`.
        whole: tensors that replace the base's (`modules_to_save`), by full name.
    """

    pairs: dict[str, tuple[Tensor, Tensor]]
    alpha: float
    whole: dict[str, Tensor]


def peft_tensors(
    file: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> PeftTensors:
    """Sort and scale the tensors of an adapter that stock peft wrote.

    Args:
        file: where the tensors were read; names them in messages.
        config: adapter_config.json.
        tensors: under peft's names.

    Raises:
        ArtifactError: the adapter is no plain LoRA on linears, or tensors and configuration do not
            belong together.
    """
    _require_plain_lora(file.parent / CONFIG_FILE, config)
    sides: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        if match := _LORA.fullmatch(name):
            sides.setdefault(match[1], {})[match[2]] = tensor
        elif "lora_" in name:
            raise ArtifactError(
                f"{file} holds `{key}`: expected LoRA on linears, as lora_A.weight and "
                "lora_B.weight.",
                _WAY_OUT,
            )
        else:
            whole[_plain_name(name)] = tensor
    if not sides and not whole:
        raise ArtifactError(f"{file} holds no tensor.", "Save the adapter again.")
    for module in config.get("modules_to_save") or ():
        if not any(f".{module}." in f".{name}" for name in whole):
            raise ArtifactError(
                f"{file} holds no tensor of `{module}`, which {CONFIG_FILE} names in "
                "`modules_to_save`: what was trained there is missing.",
                "Save the adapter again with the tool that trained it.",
                where=str(file),
                found="no such tensor",
                expected=f"the weights of `{shown(module)}`",
            )
    alpha = _number(file, config, "lora_alpha")
    pairs = {name: _folded(file, config, name, pair, alpha) for name, pair in sides.items()}
    return PeftTensors(pairs, alpha, whole)


def read_pickled(file: Path) -> dict[str, Tensor]:
    """Read tensors by name from a .bin file; nothing but tensors is unpickled.

    Raises:
        ArtifactError: it is cut short, or holds more than tensors.
    """
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{file} is no readable file of tensors: {str(error).splitlines()[0]}",
            "Take it again from where it was trained, best as safetensors.",
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise ArtifactError(f"{file} holds something else than tensors by name.")
    return loaded


def without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return whole tensors under the base's names, without what peft put in front."""
    return {_plain_name(name.removeprefix(_PREFIX)): t for name, t in tensors.items()}


def _require_plain_lora(file: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ArtifactError(f"{file}: `peft_type` is {kind!r}, expected 'LORA'.", _WAY_OUT)
    for key, plain in _OTHER_KINDS.items():
        found = config.get(key, plain)
        if found != plain and found not in (None, False, [], {}):
            raise ArtifactError(
                f"{file}: `{key}` is {found!r}; only plain LoRA is merged here.", _WAY_OUT
            )
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_CHANGED_BASES):
        raise ArtifactError(
            f"{file}: `init_lora_weights` is {start!r}, which changes the weights of the base that "
            "the adapter belongs to.",
            "Save it as plain LoRA, with `path_initial_model_for_weight_conversion` of peft's "
            "`save_pretrained`, or merge it with peft.",
        )


def _folded(
    file: Path,
    config: Mapping[str, Any],
    name: str,
    sides: Mapping[str, Tensor],
    alpha: float,
) -> tuple[Tensor, Tensor]:
    """Return A and B in fp32, with B scaled so that `alpha / rank` is the rest of the scale."""
    a, b = sides.get("A"), sides.get("B")
    if a is None or b is None or a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise ArtifactError(
            f"{file}: A and B of `{name}` are not both there as matrices of one rank.",
            "Save the adapter again; LoRA on convolutions is not merged here.",
        )
    rank = a.shape[0]
    where = file.parent / CONFIG_FILE
    named = _by_pattern(where, config, "rank_pattern", name, config.get("r"))
    if named != rank:
        raise ArtifactError(
            f"{file}: `{name}` has rank {rank}, {CONFIG_FILE} says {named}.",
            "One of the two was edited; save the adapter again.",
        )
    own = _positive(
        where, "alpha_pattern", _by_pattern(where, config, "alpha_pattern", name, alpha)
    )
    scale = own / (math.sqrt(rank) if config.get("use_rslora") else rank)
    factor = scale * rank / alpha
    a, b = a.float(), b.float()
    return (a, b) if factor == 1 else (a, (b.double() * factor).float())


def _by_pattern(file: Path, config: Mapping[str, Any], key: str, name: str, default: Any) -> Any:
    """Return what the first matching entry of a pattern says (peft's `get_pattern_key`)."""
    entries = config.get(key) or {}
    if not isinstance(entries, Mapping):
        raise _no_entry(file, key, shown(entries), "patterns of names, each with its number")
    for pattern, value in entries.items():
        # A repeated group, or repetition within repetition, takes hours on one name.
        if _SLOW.search(pattern) or len(_REPEATS.findall(pattern)) > _MOST_REPEATS:
            raise _no_entry(file, key, shown(pattern), "names, or patterns that repeat no group")
        try:
            found = re.match(rf"(.*\.)?({pattern})$", name)
        except (re.error, OverflowError, RecursionError) as error:
            raise _no_entry(file, key, shown(pattern), "regular expressions") from error
        if found:
            return value
    return default


def _no_entry(file: Path, key: str, found: str, expected: str) -> ArtifactError:
    return ArtifactError(
        f"{file}: `{key}` holds {found}, expected {expected}.",
        "Write the modules' names out, or save the adapter again with the tool that trained it.",
        where=f"{file}, {key}",
        found=found,
        expected=expected,
    )


def _number(file: Path, config: Mapping[str, Any], key: str) -> float:
    return _positive(file.parent / CONFIG_FILE, key, config.get(key))


def _positive(file: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ArtifactError(
            f"{file}: `{key}` is {shown(value)}, expected a number above 0.",
            "Take the adapter again from the tool that trained it.",
        )
    return float(value)


def _plain_name(name: str) -> str:
    """Return the base's name of a tensor that peft saved whole."""
    return re.sub(r"\.(base_layer|original_module|modules_to_save(\.default)?)(?=\.)", "", name)
