/*
 * From logits to the next token: the largest, or one drawn at random.
 *
 * The same seed gives the same tokens on every device whose logits are the same. Knows no tokenizer. Called by
 * `Generator`.
 */
package org.hydramobile.core

import java.util.Random
import kotlin.math.exp

/**
 * How to choose tokens.
 *
 * [temperature]: 0 takes the largest logit; above, logits are divided by it. [topK]: only that many of the
 * largest; 0: all. [topP]: only the fewest of the largest whose probabilities reach it; 1: all, not computed.
 * [seed]: null: another one for each answer.
 */
class Sampling(val temperature: Float = 0f, val topK: Int = 0, val topP: Float = 1f, val seed: Long? = null) {
    init {
        require(temperature >= 0 && temperature < Float.POSITIVE_INFINITY) {
            "temperature is $temperature, expected 0 or more"
        }
        require(topK >= 0) { "topK is $topK, expected 0 or more" }
        require(topP > 0 && topP <= 1) { "topP is $topP, expected more than 0 and at most 1" }
    }

    companion object {
        val GREEDY = Sampling()
    }
}

/** Chooses the tokens of one answer. */
class Sampler(private val sampling: Sampling) {
    private val random = if (sampling.seed == null) Random() else Random(sampling.seed)

    /**
     * Index of the next token; of equal logits the first is the largest.
     *
     * @throws GenerationException RUNTIME_FAILED: logits are no numbers.
     */
    fun next(logits: FloatArray): Int {
        val best = largest(logits)
        if (sampling.temperature == 0f) return best
        val order = if (sampling.topK > 0 || sampling.topP < 1f) descending(logits) else null
        val count = if (sampling.topK == 0) logits.size else minOf(sampling.topK, logits.size)
        // Double: a sum over a large vocabulary loses digits in float.
        val top = logits[best].toDouble()
        val weights = DoubleArray(count) { exp((logits[order?.get(it) ?: it] - top) / sampling.temperature) }
        val drawn = draw(weights, if (sampling.topP < 1f) nucleus(weights) else count)
        return order?.get(drawn) ?: drawn
    }

    /** How many of the first weights make up `topP` of their sum. */
    private fun nucleus(weights: DoubleArray): Int {
        val enough = sampling.topP * weights.sum()
        var sum = 0.0
        val last = weights.indexOfFirst {
            sum += it
            sum >= enough
        }
        return if (last < 0) weights.size else last + 1
    }

    /** Index of one of the first [count] weights, each as likely as it is large. */
    private fun draw(weights: DoubleArray, count: Int): Int {
        var total = 0.0
        for (index in 0 until count) total += weights[index]
        var left = random.nextDouble() * total
        // The last that can be, where rounding leaves a rest.
        var drawn = 0
        for (index in 0 until count) {
            if (weights[index] == 0.0) continue
            drawn = index
            left -= weights[index]
            if (left < 0) break
        }
        return drawn
    }

    companion object {
        /** Index of the largest value, the first of equal ones. GenerationException: a value is no number. */
        fun largest(logits: FloatArray): Int {
            var best = 0
            for (index in logits.indices) if (logits[index] > logits[best]) best = index
            if (logits.isNotEmpty() && !logits[best].isInfinite() && logits.none { it.isNaN() }) return best
            throw GenerationException(
                GenerationProblem.RUNTIME_FAILED,
                "The model computed ${logits.size} logits, and not all of them are numbers. Export the bundle " +
                    "again; `hydra-mobile verify` tells whether it is sound.",
            )
        }

        /** Indices by falling value, equal ones by index. Sorted as longs: objects for each would take seconds. */
        private fun descending(logits: FloatArray): IntArray {
            val keys = LongArray(logits.size) { index ->
                val bits = logits[index].toRawBits()
                val rising = if (bits >= 0) bits else bits xor Int.MAX_VALUE
                (rising.inv().toLong() shl 32) or index.toLong()
            }
            keys.sort()
            return IntArray(keys.size) { keys[it].toInt() }
        }
    }
}
