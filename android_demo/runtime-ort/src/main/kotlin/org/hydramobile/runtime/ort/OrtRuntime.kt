/*
 * Runs the three ONNX graphs of a bundle with ONNX Runtime's Java API, as `hydra_mobile/runtimes/onnx.py`
 * does in Python.
 *
 * Everything that a step needs lies in buffers made once: a token costs two calls and no large allocation. Knows
 * no prompt and no Android. Made by `OrtRuntime.load`, which the app's model manager calls.
 */
package org.hydramobile.runtime.ort

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import org.hydramobile.core.Bundle
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.RuntimeUse
import org.hydramobile.core.VlmRuntime
import java.nio.LongBuffer

/** The graphs of one bundle. Not for several threads at once. */
class OrtRuntime private constructor(
    private val environment: OrtEnvironment,
    bundle: Bundle,
    override val threads: Int,
    began: Long,
) : VlmRuntime {
    private val limits = bundle.manifest
    private val use = RuntimeUse(limits)
    private val hidden = limits.hiddenSize
    private val picture = OrtGraph.floatBuffer(3 * limits.image.size * limits.image.size)
    private val features = OrtGraph.floatBuffer(limits.imageTokens * hidden)
    private val rows = OrtGraph.floatBuffer(limits.maxPrefill * hidden)
    private val ids = OrtGraph.longBuffer(limits.maxPrefill)
    private val logits = OrtGraph.floatBuffer(limits.vocabSize)
    private val ones = filled(limits.maxContext) { 1 }
    private val positions = filled(limits.maxContext) { it.toLong() }

    // Behind the buffers: what has to be closed is opened last.
    private val opened = ArrayList<AutoCloseable>()
    private val vision = graph(bundle, "vision_encoder", setOf("pixel_values"), setOf(FEATURES))
    private val embedding = graph(bundle, "token_embedding", setOf("input_ids"), setOf(EMBEDDINGS))
    private val decoder =
        graph(bundle, "text_decoder", setOf(EMBEDDINGS, "attention_mask", "position_ids"), setOf("logits"))
    private val cache = opening { KeyValueCache(environment, decoder, limits.maxContext) }

    /** Tokens in the cache. */
    private var held = 0

    override val name = NAME
    override val library = "onnxruntime ${environment.version}"
    override val loadSeconds = (System.nanoTime() - began) / 1e9

    override fun encodeImage(pixels: FloatArray): FloatArray {
        use.requirePixels(pixels)
        picture.part(0, pixels.size).put(pixels)
        val side = limits.image.size.toLong()
        vision.floats(picture, 1, 3, side, side).use { input ->
            vision.floats(features, 1, limits.imageTokens.toLong(), hidden.toLong()).use { output ->
                vision.run(mapOf("pixel_values" to input), mapOf(FEATURES to output))
            }
        }
        return FloatArray(features.capacity()).also { features.part(0, it.size).get(it) }
    }

    override fun embed(ids: IntArray): FloatArray {
        use.requireIds(ids)
        val embeddings = FloatArray(ids.size * hidden)
        for (start in ids.indices step limits.maxPrefill) {
            val count = minOf(limits.maxPrefill, ids.size - start)
            for (at in 0 until count) this.ids.put(at, ids[start + at].toLong())
            embedding.longs(this.ids.part(0, count), 1, count.toLong()).use { input ->
                embedding.floats(rows.part(0, count * hidden), 1, count.toLong(), hidden.toLong()).use { output ->
                    embedding.run(mapOf("input_ids" to input), mapOf(EMBEDDINGS to output))
                }
            }
            rows.part(0, count * hidden).get(embeddings, start * hidden, count * hidden)
        }
        return embeddings
    }

    override fun decode(embeddings: FloatArray, count: Int, position: Int): FloatArray {
        use.requireRows(embeddings, count, position, held)
        for (start in 0 until count step limits.maxPrefill) {
            val size = minOf(limits.maxPrefill, count - start)
            rows.part(0, size * hidden).put(embeddings, start * hidden, size * hidden)
            step(size, position + start)
        }
        return FloatArray(limits.vocabSize).also { logits.part(0, it.size).get(it) }
    }

    /** Append the first [count] rows; logits of the last are in their buffer afterwards. */
    private fun step(count: Int, position: Int) {
        // What a step that fails has written behind this is not known.
        held = position
        val length = position + count
        val inputs = LinkedHashMap<String, OnnxTensor>()
        val own = ArrayList<OnnxTensor>()
        try {
            own.add(decoder.floats(rows.part(0, count * hidden), 1, count.toLong(), hidden.toLong()))
            own.add(decoder.longs(ones.part(0, length), 1, length.toLong()))
            own.add(decoder.longs(positions.part(position, length), 1, count.toLong()))
            own.add(decoder.floats(logits, 1, 1, limits.vocabSize.toLong()))
            inputs[EMBEDDINGS] = own[0]
            inputs["attention_mask"] = own[1]
            inputs["position_ids"] = own[2]
            inputs.putAll(cache.inputs)
            decoder.run(inputs, cache.outputs + ("logits" to own[3]))
        } finally {
            own.forEach { it.close() }
        }
        held = length
    }

    override fun close() {
        use.close()
        // The cache before the graphs that made it.
        opened.asReversed().forEach { it.close() }
        opened.clear()
    }

    private fun graph(bundle: Bundle, role: String, inputs: Set<String>, outputs: Set<String>): OrtGraph =
        opening { OrtGraph(environment, bundle.file(role), role, threads, inputs, outputs) }

    private fun filled(size: Int, value: (Int) -> Long): LongBuffer =
        OrtGraph.longBuffer(size).also { for (at in 0 until size) it.put(at, value(at)) }

    /** Note what was opened, or close what was opened before it. */
    private fun <T : AutoCloseable> opening(open: () -> T): T = try {
        open().also { opened.add(it) }
    } catch (error: Throwable) {
        close()
        throw error
    }

    companion object {
        /** The manifest's name of this runtime. */
        const val NAME = "onnx"

        /** Of the package that is built in; what is loaded tells its own. */
        const val VERSION = "1.29.0"
        private const val EMBEDDINGS = "inputs_embeds"
        private const val FEATURES = "image_features"

        /**
         * Load a checked bundle; [threads] 0 leaves their number to the library.
         *
         * The first call of a process fixes the size of the pool of threads that all graphs share.
         *
         * @throws GenerationException the library or a graph cannot be used, or memory is short.
         */
        fun load(bundle: Bundle, threads: Int = 0): OrtRuntime {
            val began = System.nanoTime()
            try {
                return OrtRuntime(OrtProcess.environment(threads), bundle, threads, began)
            } catch (error: OrtException) {
                val what = "ONNX Runtime cannot prepare the model: ${OrtProcess.firstLine(error)} Export it again."
                throw GenerationException(GenerationProblem.CANNOT_LOAD, what, error)
            } catch (error: OutOfMemoryError) {
                val what = "No memory is left for the model. Close other apps, or use a smaller model."
                throw GenerationException(GenerationProblem.OUT_OF_MEMORY, what, error)
            }
        }
    }
}
