/*
 * Refuses calls of a runtime that its library would answer by reading beyond its buffers, or by ending the process.
 *
 * Called by every `VlmRuntime` before it calls its library.
 */
package org.hydramobile.core

/** Checks the calls of one loaded bundle; each throws [GenerationException] MISUSED. */
class RuntimeUse(private val limits: Manifest) {
    var isClosed = false
        private set

    /** Refuse every call from now on. */
    fun close() {
        isClosed = true
    }

    /** Of one square: float32 [3 * size * size]. */
    fun requirePixels(pixels: FloatArray) {
        val expected = limits.image.squareValues
        require(pixels.size == expected) { "pixels are ${pixels.size}, expected $expected" }
    }

    /** All of the vocabulary. */
    fun requireIds(ids: IntArray) {
        val wrong = ids.firstOrNull { it !in 0 until limits.vocabSize }
        require(wrong == null) { "token id $wrong is none of ${limits.vocabSize}" }
    }

    /** [count] rows of [embeddings] at [position] of a cache that holds [held] tokens. */
    fun requireRows(embeddings: FloatArray, count: Int, position: Int, held: Int) {
        require(count > 0 && embeddings.size == count * limits.hiddenSize) {
            "embeddings have ${embeddings.size} values for $count rows of ${limits.hiddenSize}"
        }
        require(position in 0..held) { "position $position is beyond the $held tokens in the cache" }
        require(position + count <= limits.maxContext) {
            "$position tokens in the cache and $count new ones exceed the ${limits.maxContext} of the bundle"
        }
    }

    private inline fun require(isRight: Boolean, what: () -> String) {
        if (isClosed) throw misused("the model was closed")
        if (!isRight) throw misused(what())
    }

    private fun misused(what: String) =
        GenerationException(GenerationProblem.MISUSED, "The runtime was called wrongly: $what. Load the model again.")
}
