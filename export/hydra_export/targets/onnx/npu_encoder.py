"""The vision encoder a second time, for NPUs: static shapes, quantized as QDQ.

Execution providers of NPUs (QNN and its like) take a graph whose shapes are numbers and whose
tensors pass through pairs of QuantizeLinear and DequantizeLinear: weights of 8 bits, a scale for
each channel, and activations of 16 bits, with which an encoder full of convolutions keeps its
features. It lies beside the program's own encoder, which every host can run. Nothing here has run
on an NPU: what is compared is the same file on ONNX Runtime's CPU provider.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from hydra_export.quantization.calibration import blobs
from hydra_export.quantization.witness import golden_pixels, image_parity
from hydra_export.targets.onnx.encoders import static_encoder
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.quiet import errors_only
from hydra_mobile.core.temporary import working_folder

#: Role in the bundle, and the file.
ROLE, FILE = "vision_encoder_npu", "vision_encoder_npu.onnx"
_INPUT, _OUTPUT = "pixel_values", "image_features"
#: Least cosine of image embeddings with the model's: below it a picture is another one.
_LEAST_COSINE = 0.98
_BLOBS = 16


class _Pixels(CalibrationDataReader):  # type: ignore[misc] # untyped package
    def __init__(self, pictures: list[NDArray[np.float32]]) -> None:
        self._left = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        picture = next(self._left, None)
        return None if picture is None else {_INPUT: picture}


def write_npu_encoder(
    tower: nn.Module, projector: nn.Module, image_size: int, folder: Path
) -> dict[str, Any]:
    """Write `vision_encoder_npu.onnx`: [1, 3, S, S] -> [1, N, hidden], in float32 at both ends.

    Args:
        tower: the vision tower, fp32.
        projector: from its features to embeddings.
        image_size: S.
        folder: of the bundle; holds the golden vectors already.

    Returns:
        What the manifest says of it.

    Raises:
        HydraError: on the golden pictures it is not the model's encoder any more.
    """
    smooth = blobs(image_size, torch.Generator().manual_seed(0))[:_BLOBS].numpy()
    pictures = [*golden_pixels(folder), *(blob[None] for blob in smooth)]
    path = folder / FILE
    # The quantizer logs advice on the root's logger.
    with working_folder("encoder") as work, errors_only():
        plain, prepared = work / "plain.onnx", work / "prepared.onnx"
        onnx.save_model(static_encoder(tower, projector, image_size), plain)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            _Pixels(pictures),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt16,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parity = image_parity(folder, lambda pixels: session.run([_OUTPUT], {_INPUT: pixels})[0])
    if not parity["cosine"] >= _LEAST_COSINE:
        raise HydraError(
            f"The quantized vision encoder for NPUs gives image embeddings whose cosine with the "
            f"model's is {parity['cosine']:.4f}, expected at least {_LEAST_COSINE}.",
            "Leave out --vision-backend; the program's own encoder keeps more digits.",
        )
    return {
        "file": FILE,
        "precision": "weights int8 by channel, activations uint16",
        "calibrated": f"on {len(pictures)} images: the golden ones and random blobs",
        "executed": False,
        "compared": "this file on ONNX Runtime's CPU provider, with the model's own embeddings",
        **parity,
    }
