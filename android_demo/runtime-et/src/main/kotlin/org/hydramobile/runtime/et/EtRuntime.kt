/*
 * Runs the three methods of a bundle's `.pte` with ExecuTorch, as `hydra_mobile/runtimes/executorch.py` does in
 * Python.
 *
 * The key-value cache is inside of the program, which gives every method its own memory; a position says how much of
 * it counts.
 */
package org.hydramobile.runtime.et

import org.hydramobile.core.Bundle
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.RuntimeUse
import org.hydramobile.core.VlmRuntime
import java.nio.Buffer
import java.nio.FloatBuffer

/** One loaded program. Not for several threads at once. */
class EtRuntime private constructor(private var handle: Long, bundle: Bundle, began: Long) : VlmRuntime {
    private val limits = bundle.manifest
    private val use = RuntimeUse(limits)
    private val hidden = limits.hiddenSize
    private val picture = Native.floats(3 * limits.image.size * limits.image.size)
    private val features = Native.floats(limits.imageTokens * hidden)
    private val ids = Native.longs(limits.maxPrefill)
    private val rows = Native.floats(limits.maxPrefill * hidden)
    private val at = Native.longs(1)
    private val logits = Native.floats(limits.vocabSize)

    /** Tokens in the cache. */
    private var held = 0

    init {
        // Delegates pack their weights at the first call; a user who asks must not wait for it.
        encodeImage(FloatArray(picture.capacity()))
        decode(embed(intArrayOf(0)), 1, 0)
        held = 0
    }

    override val name = NAME
    override val library = LIBRARY
    override val threads = Native.threads()
    override val loadSeconds = (System.nanoTime() - began) / 1e9

    override fun encodeImage(pixels: FloatArray): FloatArray {
        use.requirePixels(pixels)
        fill(picture, pixels, 0, pixels.size)
        val side = limits.image.size.toLong()
        return run(VISION_ENCODER, arrayOf(picture), arrayOf(longArrayOf(1, 3, side, side)), features)
    }

    override fun embed(ids: IntArray): FloatArray {
        use.requireIds(ids)
        val embeddings = FloatArray(ids.size * hidden)
        for (start in ids.indices step limits.maxPrefill) {
            val count = minOf(limits.maxPrefill, ids.size - start)
            for (index in 0 until count) this.ids.put(index, ids[start + index].toLong())
            val shape = longArrayOf(1, count.toLong())
            run(TOKEN_EMBEDDING, arrayOf(this.ids), arrayOf(shape), rows).copyInto(embeddings, start * hidden)
        }
        return embeddings
    }

    override fun decode(embeddings: FloatArray, count: Int, position: Int): FloatArray {
        use.requireRows(embeddings, count, position, held)
        var found = FloatArray(0)
        // What a call that fails has written behind this is not known.
        held = position
        for (start in 0 until count step limits.maxPrefill) {
            val size = minOf(limits.maxPrefill, count - start)
            fill(rows, embeddings, start * hidden, size * hidden)
            at.put(0, held.toLong())
            val shapes = arrayOf(longArrayOf(1, size.toLong(), hidden.toLong()), longArrayOf(1))
            found = run(TEXT_DECODER, arrayOf(rows, at), shapes, logits)
            held += size
        }
        return found
    }

    override fun close() {
        use.close()
        if (handle != 0L) Native.close(handle)
        handle = 0
    }

    private fun fill(buffer: FloatBuffer, values: FloatArray, start: Int, count: Int) {
        buffer.clear()
        buffer.put(values, start, count)
    }

    private fun run(method: String, inputs: Array<Buffer>, shapes: Array<LongArray>, output: FloatBuffer): FloatArray {
        val count = try {
            Native.run(handle, method, inputs, shapes, output)
        } catch (error: RuntimeException) {
            val what = "ExecuTorch failed: ${error.message ?: error}. Ask again, or load the model again."
            throw GenerationException(GenerationProblem.RUNTIME_FAILED, what, error)
        }
        output.clear()
        return FloatArray(count).also { output.get(it) }
    }

    companion object {
        /** The manifest's name of this runtime. */
        const val NAME = "executorch"

        /** Of the package that is built in; held equal to the pinned one by a test. */
        const val VERSION = "0.9.0"

        /** What computes. */
        const val LIBRARY = "executorch (react-native-executorch $VERSION)"
        private const val VISION_ENCODER = "vision_encoder"
        private const val TOKEN_EMBEDDING = "token_embedding"
        private const val TEXT_DECODER = "text_decoder"

        /**
         * Load a checked bundle; [threads] 0: one for each fast core.
         *
         * @throws GenerationException the library or the program cannot be used, or memory is short.
         */
        fun load(bundle: Bundle, threads: Int = 0): EtRuntime {
            val began = System.nanoTime()
            try {
                Native.open()
                val handle = Native.load(bundle.file("program").path, threads)
                return try {
                    EtRuntime(handle, bundle, began)
                } catch (error: Throwable) {
                    Native.close(handle)
                    throw error
                }
            } catch (error: LinkageError) {
                // A missing library is an Error to Java; here it is a program that was put together wrongly.
                throw cannotLoad("ExecuTorch's library is missing in this app, or is for other processors", error)
            } catch (error: GenerationException) {
                throw error
            } catch (error: RuntimeException) {
                throw cannotLoad("ExecuTorch cannot load the program", error)
            } catch (error: OutOfMemoryError) {
                val what = "No memory is left for the model. Close other apps, or use a smaller model."
                throw GenerationException(GenerationProblem.OUT_OF_MEMORY, what, error)
            }
        }

        private fun cannotLoad(what: String, cause: Throwable): GenerationException {
            val line = (cause.message ?: cause.toString()).trim().lineSequence().first()
            val sentence = "$what: $line. Install the app again, or export the bundle again."
            return GenerationException(GenerationProblem.CANNOT_LOAD, sentence, cause)
        }
    }
}
