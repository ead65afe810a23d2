/*
 * The time of one answer, split as `hydra_mobile/runtimes/generation.py` splits it. Called by `Generator`.
 */
package org.hydramobile.core

internal class AnswerClock {
    private val began = System.nanoTime()
    private var encodeSeconds: Double? = null
    private var prefillSeconds = 0.0
    private var prefillTokens = 0
    private var firstTokenAt: Long? = null
    private var steppedAt = 0L
    private var steps = 0

    fun <T> encode(work: () -> T): T {
        val start = System.nanoTime()
        return work().also { encodeSeconds = seconds(start, System.nanoTime()) }
    }

    fun prefill(tokens: Int, work: () -> Unit) {
        val start = System.nanoTime()
        work()
        prefillSeconds += seconds(start, System.nanoTime())
        prefillTokens += tokens
    }

    fun firstToken() {
        firstTokenAt = System.nanoTime().also { steppedAt = it }
    }

    fun step() {
        steppedAt = System.nanoTime()
        steps++
    }

    fun timings(): Timings {
        val first = firstTokenAt
        return Timings(
            encodeSeconds = encodeSeconds,
            prefillSeconds = prefillSeconds,
            prefillTokens = prefillTokens,
            firstTokenSeconds = if (encodeSeconds == null || first == null) null else seconds(began, first),
            decodeSeconds = if (first == null) 0.0 else seconds(first, steppedAt),
            decodeSteps = steps,
        )
    }

    private fun seconds(from: Long, to: Long) = (to - from) / 1e9
}
