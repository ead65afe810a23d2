"""Lines that run a bundle with CoreML on a phone, for its card.

Written after the runtime's public interfaces and not compiled here, and the card says so.
"""

from __future__ import annotations

SWIFT = """\
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
"""
