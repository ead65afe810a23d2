"""Lines that run a bundle with ExecuTorch on a phone, for its card.

Written after the runtime's public interfaces and not compiled here, and the card says so.
"""

from __future__ import annotations

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
