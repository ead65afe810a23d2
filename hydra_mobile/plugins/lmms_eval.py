"""Announces hydra-mobile's artifacts to lmms-eval as the model `hydra_mobile`.

The target of the entry point in the group `lmms_eval.models`: lmms-eval calls `manifest` when it
starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_mobile.core.errors import HydraError

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest

MODEL_ID = "hydra_mobile"
_CLASS = "hydra_mobile.plugins.lmms_eval_model.HydraMobile"


def manifest() -> ModelManifest:
    """Return what lmms-eval registers.

    Raises:
        HydraError: lmms-eval is not installed.
    """
    try:
        from lmms_eval.models.registry_v2 import ModelManifest
    except ImportError as error:
        raise HydraError(
            f"lmms-eval cannot be imported: {error}.",
            'Install it with: pip install "hydra-mobile[lmms-eval]"',
        ) from error
    return ModelManifest(
        model_id=MODEL_ID, simple_class_path=_CLASS, aliases=(MODEL_ID.replace("_", "-"),)
    )
