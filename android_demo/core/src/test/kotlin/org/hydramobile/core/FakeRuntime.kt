/*
 * A runtime whose next token follows from the tokens in its cache by a rule, so that tests know every answer.
 */
package org.hydramobile.core

/** [rule] gives the next token of what the cache holds; pixels count as [pixelOf] for each image token. */
internal class FakeRuntime(private val manifest: Manifest, private val rule: (List<Int>) -> Int) : VlmRuntime {
    override val name = "fake"
    override val library = "fake 1"
    override val threads = 1
    override val loadSeconds = 0.5

    /** What the cache holds. */
    val held = ArrayList<Int>()

    /** Calls, for example "encode", "decode 3 at 4". */
    val calls = ArrayList<String>()

    /** Called at the start of each decoder call. */
    var onDecode: (Int) -> Unit = {}
    var pixelOf: (FloatArray) -> Float = { PIXEL }
    var logitsOf: (Int) -> FloatArray = { token ->
        FloatArray(manifest.vocabSize) {
            if (it ==
                token
            ) {
                2f
            } else {
                it / 1000f
            }
        }
    }

    override fun encodeImage(pixels: FloatArray): FloatArray {
        calls.add("encode")
        val pixel = pixelOf(pixels)
        return FloatArray(manifest.imageTokens * manifest.hiddenSize) {
            if (it % manifest.hiddenSize ==
                0
            ) {
                pixel
            } else {
                0f
            }
        }
    }

    override fun embed(ids: IntArray): FloatArray = FloatArray(ids.size * manifest.hiddenSize) {
        if (it % manifest.hiddenSize == 0) ids[it / manifest.hiddenSize].toFloat() else 0f
    }

    override fun decode(embeddings: FloatArray, count: Int, position: Int): FloatArray {
        onDecode(calls.size)
        calls.add("decode $count at $position")
        check(embeddings.size == count * manifest.hiddenSize) { "${embeddings.size} values for $count rows" }
        check(position <= held.size) { "position $position is beyond ${held.size}" }
        check(position + count <= manifest.maxContext) { "beyond the context" }
        while (held.size > position) held.removeAt(held.size - 1)
        for (row in 0 until count) held.add(embeddings[row * manifest.hiddenSize].toInt())
        return logitsOf(rule(held))
    }

    override fun close() {
        calls.add("close")
    }

    companion object {
        private const val PIXEL = -1f

        /** A token from 0, 1 and 3 that depends on all tokens and their order; 2, which ends, after [most] of them. */
        fun mixed(most: Int): (List<Int>) -> Int = { held ->
            var sum = 7L
            for (token in held) sum = (sum * 31 + token + 5) % 1_000_003
            if (held.size >= most) 2 else intArrayOf(0, 1, 3)[(sum % 3).toInt()]
        }

        /** What a loop without any cache answers. */
        fun expected(rule: (List<Int>) -> Int, prompt: List<Int>, mostTokens: Int, stop: Int? = 2): List<Int> {
            val all = ArrayList(prompt)
            val answer = ArrayList<Int>()
            while (answer.size < mostTokens) {
                val next = rule(all)
                if (next == stop) break
                answer.add(next)
                all.add(next)
            }
            return answer
        }
    }
}
