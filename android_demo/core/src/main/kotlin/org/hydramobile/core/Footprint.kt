/*
 * How much memory running a bundle takes on a phone: the sums of `hydra_mobile/bundle/memory/footprint.py`.
 *
 * That module says what they stand on and how they were measured. Tests compare every byte with it. Knows a
 * manifest; loads no program. Called by `Manifest`.
 */
package org.hydramobile.core

/**
 * Bytes of memory, by what they are for.
 *
 * [weights]: as the runtime holds them. [loading]: the largest weight, twice for a moment. [cache]: keys,
 * values and other states. [prefill]: one decoder call. [picture]: bitmap, pixels and the largest step of the vision encoder.
 * [tokenizer]: vocabulary and merges. [runtime]: the runtime itself.
 */
class Footprint(
    val weights: Long,
    val loading: Long,
    val cache: Long,
    val prefill: Long,
    val picture: Long,
    val tokenizer: Long,
    val runtime: Long,
) {
    /** What stays between two questions. */
    val resting: Long get() = weights + cache + tokenizer + runtime

    /** Most bytes at once, the app itself left out. */
    val peak: Long get() = resting + maxOf(loading, picture, prefill)

    companion object {
        private const val FLOAT = 4L
        private const val TOKENIZER = 8L
        private const val PACKED_4BIT = 1.15
        private val RUNTIME_BYTES = mapOf("executorch" to (8L shl 20), "onnx" to (14L shl 20))
        private val WEIGHT = mapOf(
            "fp32" to 4.0, "fp16" to 2.0, "w8" to 1.0, "w8a8" to 1.0, "w4" to 0.5625, "w4a8" to 0.5625,
        )

        /**
         * The footprint of a bundle, null for a runtime that nothing is known about.
         *
         * @throws JsonException a size is missing or cannot be.
         */
        fun of(manifest: JsonObject): Footprint? {
            val runtime = RUNTIME_BYTES[manifest.string("runtime")] ?: return null
            try {
                return sums(manifest, runtime)
            } catch (_: ArithmeticException) {
                throw JsonException(
                    "${manifest.where}: `shapes`, `limits` and `files` give more memory than numbers can hold.",
                )
            }
        }

        private fun sums(manifest: JsonObject, runtime: Long): Footprint {
            val shapes = manifest.child("shapes")
            val limits = manifest.child("limits")
            val preset = manifest.child("preset")
            val sizes = if (manifest.lacks("sizes")) JsonObject(manifest.where, emptyMap()) else manifest.child("sizes")
            // A row, which stands for a token, may hold more than its embedding.
            val row = shapes.count("hidden_size").toLong()
            val hidden = if (sizes.lacks("hidden_size")) row else sizes.count("hidden_size").toLong()
            if (hidden > row) throw JsonException("${sizes.where}: key `hidden_size` is $hidden, a row has $row.")
            val headSize = shapes.count("head_dim").toLong()
            if (headSize == 0L) throw JsonException("${shapes.where}: key `head_dim` is 0.")
            val width = product(shapes.count("kv_heads").toLong(), headSize)
            val heads = if (sizes.lacks("heads")) maxOf(1L, hidden / headSize) else sizes.count("heads").toLong()
            val inner = if (sizes.lacks("intermediate_size")) 4 * hidden else sizes.count("intermediate_size").toLong()
            val tokens = limits.count("max_prefill").toLong()
            val context = limits.count("max_context").toLong()
            val vocabulary = shapes.count("vocab_size").toLong()
            val files = bytesByRole(manifest.child("files"))
            val decoder = total(files.filterKeys { it.startsWith("text_decoder") }.values)
            var weights = total(files.filterKeys { !it.startsWith("tokenizer") && !it.startsWith("golden") }.values)
            if (manifest.string("runtime") == "onnx" && preset.string("decoder") == "w4a8") {
                weights = sum(weights, ((PACKED_4BIT - 1) * decoder).toLong())
            }
            val attention = sum(product(heads, headSize), product(2, width))
            val layers = shapes.count("layers").toLong()
            // Not every layer keeps keys and values, and some keep other states.
            val kept =
                if (sizes.lacks("cache_values")) product(2, layers, width) else sizes.count("cache_values").toLong()
            val layer = sum(product(4, hidden), product(2, attention), product(3, inner))
            val scores = if (keepsScores(manifest)) product(FLOAT, heads, tokens, context) else 0
            return Footprint(
                weights = weights,
                loading = (product(vocabulary, hidden) * weightBytes(preset)).toLong(),
                cache = product(kept, context, FLOAT),
                prefill = sum(
                    product(FLOAT, sum(product(tokens, layer), 2 * vocabulary)),
                    product(FLOAT, tokens, row - hidden),
                    scores,
                ),
                picture = picture(shapes.count("image_size").toLong(), sizes, squares(manifest)),
                tokenizer = product(TOKENIZER, files["tokenizer"] ?: 0),
                runtime = runtime,
            ).also { sum(it.resting, it.loading, it.picture, it.prefill) }
        }

        private fun bytesByRole(files: JsonObject): Map<String, Long> =
            files.keys.map(files::child).associate { it.string("role") to it.long("bytes") }

        private fun weightBytes(preset: JsonObject): Double {
            val head = preset.string("head")
            val raised = if (preset.lacks("sensitive")) "" else preset.string("sensitive")
            return maxOf(WEIGHT[head] ?: 4.0, WEIGHT[raised.ifEmpty { head }] ?: 4.0)
        }

        /** Whether attention writes all its scores to memory. */
        private fun keepsScores(manifest: JsonObject): Boolean =
            manifest.string("runtime") == "onnx" || manifest.child("details").values["attention"] == "manual"

        /** How many squares a picture is read as. */
        private fun squares(manifest: JsonObject): Long {
            val image = manifest.child("image")
            return if (image.lacks("tiles")) 1L else maxOf(1L, image.child("tiles").list("texts").size.toLong())
        }

        private fun picture(side: Long, sizes: JsonObject, squares: Long): Long {
            val pixels = product(side, side)
            val step = if (sizes.lacks("vision_step")) product(pixels, 11, FLOAT) else sizes.long("vision_step")
            return sum(product(squares, pixels, 4 + 2 * 3 * FLOAT), product(2, step))
        }

        private fun product(vararg factors: Long) = factors.reduce(Math::multiplyExact)

        private fun sum(vararg terms: Long) = terms.reduce(Math::addExact)

        private fun total(terms: Collection<Long>) = terms.fold(0L, Math::addExact)
    }
}
