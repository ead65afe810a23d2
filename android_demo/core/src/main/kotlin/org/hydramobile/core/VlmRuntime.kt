/*
 * What a runtime does for the app: three operations on arrays, behind which a library hides.
 *
 * A runtime knows one library and how to load one bundle; it knows no prompt, no tokenizer and no sampling.
 * `Generator` drives every runtime through the same loop, so that answers differ only where the numbers do.
 */
package org.hydramobile.core

/**
 * One loaded bundle. One caller at a time: not for several threads at once.
 *
 * Every method throws [GenerationException] for whatever the library reports.
 */
interface VlmRuntime : AutoCloseable {
    /** The manifest's runtime: "onnx", "executorch". */
    val name: String

    /** What computes, with its version, for reports: for example "onnxruntime 1.29.0". */
    val library: String

    /** Threads that it was asked to use; 0 where the library chose. */
    val threads: Int

    /** Seconds that loading took, until the first operation could run. */
    val loadSeconds: Double

    /** Map [pixels] float32 [3 * size * size] of one square to its embeddings [image tokens * hidden]. */
    fun encodeImage(pixels: FloatArray): FloatArray

    /** Map n token ids to embeddings [n * hidden]. */
    fun embed(ids: IntArray): FloatArray

    /**
     * Append [count] rows of [embeddings] [count * hidden] to the cache; return the logits [vocabulary] of the last.
     *
     * [position]: tokens that are kept before them; at most what the cache holds. What is behind is forgotten.
     */
    fun decode(embeddings: FloatArray, count: Int, position: Int): FloatArray

    /** Release all memory; nothing may be called afterwards, except this again. */
    override fun close()
}

/** Loads a checked bundle; GenerationException: the library cannot. [threads]: 0 leaves the choice to it. */
fun interface RuntimeFactory {
    fun load(bundle: Bundle, threads: Int): VlmRuntime
}
