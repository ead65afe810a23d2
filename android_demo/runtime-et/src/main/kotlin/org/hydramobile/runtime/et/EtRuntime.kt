/*
 * Runs the three methods of a bundle's `.pte` with ExecuTorch's Java API, as
 * `hydra_mobile/runtimes/executorch.py` does in Python.
 *
 * The key-value cache is inside of the program, which gives every method its own memory; a position says how much of
 * it counts. Knows no prompt and no Android. Compiled against the library's classes; it has not been run by us, on a
 * phone or elsewhere: the Java classes that the library's native half wants are in no package that we can pin.
 */
package org.hydramobile.runtime.et

import org.hydramobile.core.Bundle
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.RuntimeUse
import org.hydramobile.core.VlmRuntime
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** One loaded program. Not for several threads at once. */
class EtRuntime private constructor(
    private val module: Module,
    bundle: Bundle,
    override val threads: Int,
    began: Long,
) : VlmRuntime {
    private val limits = bundle.manifest
    private val use = RuntimeUse(limits)
    private val hidden = limits.hiddenSize
    private val picture = Tensor.allocateFloatBuffer(3 * limits.image.size * limits.image.size)
    private val rows = Tensor.allocateFloatBuffer(limits.maxPrefill * hidden)

    /** Tokens in the cache. */
    private var held = 0

    init {
        // Delegates pack their weights at the first call; a user who asks must not wait for it.
        encodeImage(FloatArray(picture.capacity()))
        decode(embed(intArrayOf(0)), 1, 0)
        held = 0
    }

    override val name = NAME
    override val library = "executorch"
    override val loadSeconds = (System.nanoTime() - began) / 1e9

    override fun encodeImage(pixels: FloatArray): FloatArray {
        use.requirePixels(pixels)
        picture.clear()
        picture.put(pixels)
        picture.rewind()
        val side = limits.image.size.toLong()
        return run(VISION_ENCODER, Tensor.fromBlob(picture, longArrayOf(1, 3, side, side)))
    }

    override fun embed(ids: IntArray): FloatArray {
        use.requireIds(ids)
        val embeddings = FloatArray(ids.size * hidden)
        for (start in ids.indices step limits.maxPrefill) {
            val count = minOf(limits.maxPrefill, ids.size - start)
            val part = LongArray(count) { ids[start + it].toLong() }
            val made = run(TOKEN_EMBEDDING, Tensor.fromBlob(part, longArrayOf(1, count.toLong())))
            made.copyInto(embeddings, start * hidden, 0, count * hidden)
        }
        return embeddings
    }

    override fun decode(embeddings: FloatArray, count: Int, position: Int): FloatArray {
        use.requireRows(embeddings, count, position, held)
        var logits = FloatArray(0)
        // What a call that fails has written behind this is not known.
        held = position
        for (start in 0 until count step limits.maxPrefill) {
            val size = minOf(limits.maxPrefill, count - start)
            rows.clear()
            rows.put(embeddings, start * hidden, size * hidden)
            rows.flip()
            val input = Tensor.fromBlob(rows, longArrayOf(1, size.toLong(), hidden.toLong()))
            val at = Tensor.fromBlob(longArrayOf(held.toLong()), longArrayOf(1))
            logits = run(TEXT_DECODER, input, at)
            held += size
        }
        return logits
    }

    override fun close() {
        if (!use.isClosed) module.destroy()
        use.close()
    }

    private fun run(method: String, vararg inputs: Tensor): FloatArray = try {
        module.execute(method, *Array(inputs.size) { EValue.from(inputs[it]) })[0].toTensor().dataAsFloatArray
    } catch (error: RuntimeException) {
        val what = "ExecuTorch failed in `$method`: ${error.message ?: error}. Ask again, or load the model again."
        throw GenerationException(GenerationProblem.RUNTIME_FAILED, what, error)
    }

    companion object {
        /** The manifest's name of this runtime. */
        const val NAME = "executorch"
        private const val VISION_ENCODER = "vision_encoder"
        private const val TOKEN_EMBEDDING = "token_embedding"
        private const val TEXT_DECODER = "text_decoder"

        /**
         * Load a checked bundle; [threads] 0 leaves their number to the library.
         *
         * @throws GenerationException the library or the program cannot be used, or memory is short.
         */
        fun load(bundle: Bundle, threads: Int = 0): EtRuntime {
            val began = System.nanoTime()
            try {
                val module = Module.load(bundle.file("program").path, Module.LOAD_MODE_MMAP, threads)
                return try {
                    EtRuntime(module, bundle, threads, began)
                } catch (error: Throwable) {
                    module.destroy()
                    throw error
                }
            } catch (error: LinkageError) {
                // A missing library is an Error to Java; here it is a program that was put together wrongly.
                throw cannotLoad("ExecuTorch's library is missing in this app, or is for other processors", error)
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
