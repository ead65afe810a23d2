"""Lines that run a bundle with onnxruntime on a phone, for its card.

Written after the runtime's public interfaces and not compiled here, and the card says so.
"""

from __future__ import annotations

KOTLIN = """\
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
"""

SWIFT = """\
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
"""
