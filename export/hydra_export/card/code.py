"""How to run a bundle, in about ten lines of Python, Kotlin and Swift, by runtime.

Text only: fills in file names and sizes. The Python lines are executed by a test; Kotlin and Swift
are written after the runtimes' public interfaces and are not compiled here, and the card says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import Any

_PYTHON = """\
from pathlib import Path

from PIL import Image

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.runtimes.generation import Generator
from hydra_mobile.runtimes import runtime_class

folder = Path("path/to/this/folder")
runner = runtime_class(Bundle.open(folder).runtime).load(folder)
generator = Generator(runner)
answer = generator.answer("What is in the image?", lambda: Image.open("picture.png"))
print(answer.text)
"""

_KOTLIN = {
    "executorch": """\
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
""",
    "onnx": """\
// com.microsoft.onnxruntime:onnxruntime-android; `pixels`, `before` and `after` as described above
val env = OrtEnvironment.getEnvironment().also { it.setTelemetry(false) }
fun open(file: String) = env.createSession("$$folder/$$file", OrtSession.SessionOptions())
val (vision, table, decoder) = listOf("$vision", "$table", "$decoder").map(::open)
fun floats(x: FloatArray, vararg shape: Long) =
    OnnxTensor.createTensor(env, FloatBuffer.wrap(x), shape)
fun longs(x: LongArray) =
    OnnxTensor.createTensor(env, LongBuffer.wrap(x), longArrayOf(1, x.size.toLong()))
fun first(out: OrtSession.Result) = (out[0] as OnnxTensor).floatBuffer.array()
fun embed(ids: LongArray) = first(table.run(mapOf("input_ids" to longs(ids))))
var past = (0 until $layers).flatMap { listOf("$$it.key", "$$it.value") }
    .associateWith { floats(FloatArray(0), 1, $kv_heads, 0, $head_dim) }
var length = 0
fun decode(x: FloatArray): FloatArray {
    val n = x.size / $hidden
    val out = decoder.run(past.mapKeys { "past_key_values.$${it.key}" } + mapOf(
        "inputs_embeds" to floats(x, 1, n.toLong(), $hidden),
        "attention_mask" to longs(LongArray(length + n) { 1 }),
        "position_ids" to longs(LongArray(n) { (length + it).toLong() })))
    past = past.keys.associateWith { out["present.$$it"].get() as OnnxTensor }
    length += n
    return (out["logits"].get() as OnnxTensor).floatBuffer.array()
}
val image = first(vision.run(mapOf("pixel_values" to floats(pixels, 1, 3, $image, $image))))
val prefix = if (before.isEmpty()) image else embed(before) + image
var logits = decode(if (after.isEmpty()) prefix else prefix + embed(after))
var id = logits.indices.maxBy { logits[it] }.toLong()
while (id !in setOf<Long>($stops) && length < $context) {
    answer += id // decode with tokenizer.json
    logits = decode(embed(longArrayOf(id)))
    id = logits.indices.maxBy { logits[it] }.toLong()
}
""",
}

_SWIFT = {
    "executorch": """\
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
""",
    "onnx": """\
// package onnxruntime-swift-package-manager
import OnnxRuntimeBindings

let env = try ORTEnv(loggingLevel: .warning)
func open(_ file: String) throws -> ORTSession {
    try ORTSession(env: env, modelPath: folder + "/" + file, sessionOptions: nil)
}
func tensor<T>(_ x: [T], _ type: ORTTensorElementDataType, _ shape: [Int]) throws -> ORTValue {
    let data = x.withUnsafeBytes { NSMutableData(bytes: $$0.baseAddress, length: $$0.count) }
    return try ORTValue(tensorData: data, elementType: type, shape: shape.map(NSNumber.init))
}
let vision = try open("$vision"), table = try open("$table"), decoder = try open("$decoder")
let image = try vision.run(
    withInputs: ["pixel_values": tensor(pixels, .float, [1, 3, $image, $image])],
    outputNames: [vision.outputNames()[0]], runOptions: nil)
// $table: input_ids -> [1, n, $hidden]. $decoder: inputs_embeds, attention_mask of ones
// [1, past + n], position_ids [1, n] and past_key_values.{0..<$layers}.{key,value}
// [1, $kv_heads, past, $head_dim] -> logits [1, 1, $vocabulary] and present.{i}.{key,value}, which
// are the past of the next call. Stop at $stops.
""",
    "coreml": """\
import CoreML

func open(_ name: String, _ function: String? = nil) throws -> MLModel {
    let configuration = MLModelConfiguration()
    if let function { configuration.functionName = function }
    let url = folder.appendingPathComponent(name + ".mlpackage")
    return try MLModel(contentsOf: MLModel.compileModel(at: url), configuration: configuration)
}
let vision = try open("vision_encoder")
let table = try open("token_embedding", "prefill"), row = try open("token_embedding", "decode")
let prefill = try open("text_decoder", "prefill"), decode = try open("text_decoder", "decode")
let image = try vision.prediction(from: MLDictionaryFeatureProvider(dictionary: ["pixels": pixels]))
    .featureValue(for: "image_embeddings")!.multiArrayValue!
// ids [1, n] -> token_embeddings; n is $prefill for "prefill" (pad with 0) and 1 for "decode".
// text_decoder: embeddings [1, n, $hidden], position, count, keys and values
// [$layers, $kv_heads, $context, $head_dim] of zeros at first -> logits, new_keys, new_values. Copy
// the first `count` rows of both into keys and values at `position`, then position += count.
// Stop at $stops.
""",
}


def snippets(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return language -> code for the runtime of a bundle; a language that it lacks is left out."""
    shapes, runtime = manifest["shapes"], str(manifest["runtime"])
    roles = {str(entry["role"]): name for name, entry in manifest["files"].items()}
    values = {
        "program": roles.get("program", ""),
        "vision": roles.get("vision_encoder", ""),
        "table": roles.get("token_embedding", ""),
        "decoder": roles.get("text_decoder", ""),
        "image": shapes["image_size"],
        "hidden": shapes["hidden_size"],
        "layers": shapes["layers"],
        "kv_heads": shapes.get("kv_heads", ""),
        "head_dim": shapes.get("head_dim", ""),
        "vocabulary": shapes["vocab_size"],
        "context": manifest["limits"]["max_context"],
        "prefill": manifest["limits"]["max_prefill"],
        "stops": ", ".join(map(str, manifest["stop_ids"])),
    }
    found = {"Python": _PYTHON}
    for language, table in (("Kotlin", _KOTLIN), ("Swift", _SWIFT)):
        if runtime in table:
            found[language] = Template(table[runtime]).substitute(values)
    return found
