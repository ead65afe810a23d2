"""Lines that run a bundle with ExecuTorch, for its card.

Those for Python are executed by a test; the others are written after the runtime's public
interfaces and not compiled here, and the card says so.
"""

from __future__ import annotations

#: Language -> lines for ExecuTorch's own runner, which tokenizes and generates by itself.
RUNNERS = {
    "Python, ExecuTorch's own runner": """\
import torch
import executorch.kernels.quantized  # registers operators, as the next line does
from executorch.extension.llm.custom_ops import custom_ops
from executorch.extension.llm.runner import (
    GenerationConfig, MultimodalRunner, make_image_input, make_text_input
)
from PIL import Image
from hydra_mobile.bundle.bundle import Bundle

folder = "path/to/this/folder"
picture = Image.open("picture.png")
pixels = torch.from_numpy(Bundle.open(folder).processor().preprocess(picture))
runner = MultimodalRunner(f"{folder}/$program", f"{folder}/tokenizer.json")
question = $between + "What is in the image?" + $after
runner.generate(
    [make_text_input($before), make_image_input(pixels), make_text_input(question)],
    GenerationConfig(max_new_tokens=32, temperature=0.0, echo=False),
    lambda piece: print(piece, end=""),
)
""",
    "Kotlin, ExecuTorch's own runner": """\
// org.pytorch:executorch-android; `pixels` is a FloatArray as described above
val model = LlmModule(
    LlmModule.MODEL_TYPE_TEXT_VISION, "$$folder/$program", "$$folder/tokenizer.json", 0f)
model.load()
model.prefillPrompt($before)
model.prefillImages(pixels, $image, $image, 3)
model.generate($between + question + $after, 64, object : LlmCallback {
    override fun onResult(piece: String) { answer += piece }
    override fun onStats(json: String) {}
}, false)
""",
    "Swift, ExecuTorch's own runner": """\
// package executorch; products executorch_llm, backend_xnnpack, kernels_llm, kernels_quantized
import ExecuTorchLLM

let runner = MultimodalRunner(
    modelPath: folder + "/$program", tokenizerPath: folder + "/tokenizer.json")
try runner.load()
let image = Image(float: pixels, width: $image, height: $image, channels: 3) // `pixels`: Data
try runner.generate([
    MultimodalInput($before), MultimodalInput(image), MultimodalInput($between + question + $after)
], Config { $$0.maximumNewTokens = 64; $$0.temperature = 0 }) { answer += $$0 }
""",
}

KOTLIN = """\
// org.pytorch:executorch-android; `pixels`, `before` and `after` as described above
val module = Module.load("$$folder/$program")
fun run(method: String, vararg inputs: Tensor) =
    module.execute(method, *inputs.map { EValue.from(it) }.toTypedArray())[0].toTensor()
fun embed(ids: LongArray) =
    run("token_embedding", Tensor.fromBlob(ids, longArrayOf(1, ids.size.toLong())))
var position = 0L
fun decode(x: Tensor): FloatArray {
    val start = Tensor.fromBlob(longArrayOf(position), longArrayOf(1))
    return run("text_decoder", x, start).dataAsFloatArray.also { position += x.shape()[1] }
}
if (before.isNotEmpty()) decode(embed(before))
val image = run("vision_encoder", Tensor.fromBlob(pixels, longArrayOf(1, 3, $image, $image)))
var logits = decode(Tensor.fromBlob(image.dataAsFloatArray, image.shape()))
if (after.isNotEmpty()) logits = decode(embed(after))
var id = logits.indices.maxBy { logits[it] }.toLong()
while (id !in setOf<Long>($stops) && position < $context) {
    answer += id // decode with tokenizer.json
    logits = decode(embed(longArrayOf(id)))
    id = logits.indices.maxBy { logits[it] }.toLong()
}
"""

SWIFT = """\
// package executorch; products executorch, backend_xnnpack, kernels_llm, kernels_quantized
import ExecuTorch

let module = Module(filePath: folder + "/$program")
func run(_ method: String, _ inputs: [ValueConvertible]) throws -> Tensor<Float> {
    try Tensor<Float>(module.execute(method, inputs)[0])
}
func embed(_ ids: [Int64]) throws -> Tensor<Float> {
    try run("token_embedding", [Tensor<Int64>(ids, shape: [1, ids.count])])
}
var position: Int64 = 0
func decode(_ x: Tensor<Float>) throws -> [Float] {
    let logits = try run("text_decoder", [x, Tensor<Int64>([position], shape: [1])])
    position += Int64(x.shape[1])
    return try logits.scalars()
}
if !before.isEmpty { _ = try decode(embed(before)) }
let image = try run("vision_encoder", [Tensor<Float>(pixels, shape: [1, 3, $image, $image])])
var logits = try decode(image)
if !after.isEmpty { logits = try decode(embed(after)) }
var id = Int64(logits.indices.max { logits[$$0] < logits[$$1] }!)
while ![$stops].contains(id) && position < $context {
    answer.append(id) // decode with tokenizer.json
    logits = try decode(embed([id]))
    id = Int64(logits.indices.max { logits[$$0] < logits[$$1] }!)
}
"""
