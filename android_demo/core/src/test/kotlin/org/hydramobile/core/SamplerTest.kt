package org.hydramobile.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test
import kotlin.math.exp
import kotlin.math.sqrt

/** What is drawn, and how often. */
class SamplerTest {
    private val logits = floatArrayOf(-1.5f, 2f, 0f, -40f, 1f, 2f, Float.NEGATIVE_INFINITY, -0.5f)

    @Test
    fun withoutATemperatureTheFirstOfTheLargest() {
        assertEquals(1, Sampler(Sampling.GREEDY).next(logits))
        assertEquals(0, Sampler(Sampling.GREEDY).next(floatArrayOf(-3f, -3f, -4f)))
    }

    @Test
    fun sharesAreThoseOfTheSoftmax() {
        for (temperature in listOf(0.5f, 1f, 2f)) {
            compare(Sampling(temperature, seed = 5), softmax(logits, temperature, logits.indices.toSet()))
        }
    }

    @Test
    fun topKKeepsTheLargestOnly() {
        compare(Sampling(1f, topK = 3, seed = 6), softmax(logits, 1f, setOf(1, 5, 4)))
        compare(Sampling(1f, topK = 1, seed = 6), softmax(logits, 1f, setOf(1)))
        // Negative ones in their order, too.
        compare(Sampling(1f, topK = 5, seed = 6), softmax(logits, 1f, setOf(1, 5, 4, 2, 7)))
        compare(Sampling(1f, topK = 99, seed = 6), softmax(logits, 1f, logits.indices.toSet()))
    }

    @Test
    fun topPKeepsTheFewestThatReachIt() {
        val all = softmax(logits, 1f, logits.indices.toSet())
        compare(Sampling(1f, topP = 0.01f, seed = 7), softmax(logits, 1f, setOf(1)))
        compare(Sampling(1f, topP = (all[1] + all[5] - 0.001).toFloat(), seed = 7), softmax(logits, 1f, setOf(1, 5)))
        compare(Sampling(1f, topP = (all[1] + all[5] + 0.001).toFloat(), seed = 7), softmax(logits, 1f, setOf(1, 5, 4)))
    }

    @Test
    fun topPCountsWithinTopK() {
        // Of the three largest, the first two have 0.84.
        compare(Sampling(1f, topK = 3, topP = 0.8f, seed = 8), softmax(logits, 1f, setOf(1, 5)))
        compare(Sampling(1f, topK = 3, topP = 0.9f, seed = 8), softmax(logits, 1f, setOf(1, 5, 4)))
    }

    @Test
    fun aSeedIsASequence() {
        fun drawn(seed: Long?) =
            Sampler(Sampling(1f, seed = seed)).let { sampler -> List(200) { sampler.next(logits) } }
        assertEquals(drawn(3), drawn(3))
        assertTrue(drawn(3) != drawn(4))
        assertTrue("without a seed each answer is another", drawn(null) != drawn(null))
    }

    @Test
    fun extremeTemperatures() {
        compare(Sampling(1e-30f, seed = 9), softmax(logits, 1e-3f, setOf(1, 5)))
        val drawn = draws(Sampling(1e30f, seed = 9), 5_000)
        assertTrue("all but what has no probability", drawn.indices.all { it == 6 || drawn[it] > 400 } && drawn[6] == 0)
    }

    @Test
    fun sortsManyOfBothSigns() {
        val many = FloatArray(50_000) { ((it * 7919L) % 50_000 - 25_000) / 100f }
        val kept = setOf(49_999, 49_998, 49_997).map { wanted ->
            many.indices.first {
                many[it] ==
                    (wanted - 25_000) / 100f
            }
        }.toSet()
        val sampler = Sampler(Sampling(0.01f, topK = 3, seed = 1))
        val drawn = (0 until 300).map { sampler.next(many) }.toSet()
        assertTrue("$drawn are of $kept", kept.containsAll(drawn))
        val flat = Sampler(Sampling(1e9f, topK = 3, seed = 1))
        assertEquals(kept, (0 until 100).map { flat.next(many) }.toSet())
    }

    @Test
    fun settingsThatCannotBe() {
        val wrong = listOf<() -> Sampling>(
            {
                Sampling(-1f)
            }, { Sampling(Float.NaN) }, { Sampling(Float.POSITIVE_INFINITY) }, { Sampling(1f, topK = -1) },
            { Sampling(1f, topP = 0f) }, { Sampling(1f, topP = 1.1f) }, { Sampling(1f, topP = Float.NaN) },
        )
        for ((index, make) in wrong.withIndex()) {
            try {
                make()
            } catch (_: IllegalArgumentException) {
                continue
            }
            fail("setting $index was taken")
        }
    }

    /** Shares of many draws are within five standard deviations of what they should be. */
    private fun compare(sampling: Sampling, expected: DoubleArray) {
        val count = 20_000
        val drawn = draws(sampling, count)
        for (index in expected.indices) {
            val allowed = 5 * sqrt(expected[index] * (1 - expected[index]) / count) + 1e-12
            val share = drawn[index].toDouble() / count
            assertTrue(
                "token $index: $share, expected ${expected[index]}",
                share in expected[index] - allowed..expected[index] + allowed,
            )
        }
    }

    private fun draws(sampling: Sampling, count: Int): IntArray {
        val sampler = Sampler(sampling)
        return IntArray(logits.size).also { drawn -> repeat(count) { drawn[sampler.next(logits)]++ } }
    }

    private fun softmax(logits: FloatArray, temperature: Float, kept: Set<Int>): DoubleArray {
        val weights = DoubleArray(logits.size) {
            if (it in
                kept
            ) {
                exp(((logits[it] - 2f) / temperature).toDouble())
            } else {
                0.0
            }
        }
        return DoubleArray(weights.size) { weights[it] / weights.sum() }
    }
}
