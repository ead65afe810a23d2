/*
 * An answer and what it took: the records that `Generator` gives to its callers.
 */
package org.hydramobile.core

/** Why an answer ends. */
enum class AnswerEnd {
    /** The model ended it. */
    STOP_TOKEN,

    /** As many tokens as were asked for. */
    MOST_TOKENS,

    /** The cache is full. */
    CONTEXT_FULL,

    /** The user stopped it. */
    STOPPED,
}

/** A picture for a question. */
class Picture(
    /** Equal keys mean equal pictures, which are encoded once; null: never equal. */
    val key: String?,
    /** Gives its pixels float32 [squares * 3 * size * size]; called only when it is not in the cache. */
    val pixels: () -> FloatArray,
)

/**
 * How to answer.
 *
 * [mostTokens]: of the answer. [stop]: end at the template's stop token; off for timing a fixed length.
 */
class AnswerOptions(val mostTokens: Int = 16, val stop: Boolean = true, val sampling: Sampling = Sampling.GREEDY) {
    init {
        require(mostTokens > 0) { "mostTokens is $mostTokens, expected at least 1" }
    }
}

/** Ends one answer between two tokens, from any thread. One for each answer, so that none stops the next. */
class StopSignal {
    @Volatile
    var isSet = false
        private set

    fun stop() {
        isSet = true
    }
}

/** What a running answer tells; all on the thread that called `Generator.answer`. */
interface AnswerListener {
    /** The vision encoder has seen [done] of the [count] squares of the picture. */
    fun onSquare(done: Int, count: Int) {}

    /** The prompt is in the cache and the first token is known. */
    fun onFirstToken(timings: Timings) {}

    /** [text] is added to the answer, empty while a character is not whole; once for each token. [timings] so far. */
    fun onText(text: String, timings: Timings) {}
}

/** Seconds on the monotonic clock. */
class Timings(
    /** The vision encoder; null when the picture was in the cache, or there is none. */
    val encodeSeconds: Double?,
    /** The decoder over the prompt, and the picture unless it was in the cache. */
    val prefillSeconds: Double,
    /** Tokens in that prefill. */
    val prefillTokens: Int,
    /** From the call to the first token, reading and encoding the picture included; null as [encodeSeconds]. */
    val firstTokenSeconds: Double?,
    /** All later tokens. */
    val decodeSeconds: Double,
    /** Decoder calls in [decodeSeconds]. */
    val decodeSteps: Int,
) {
    /** Null before the second token. */
    val decodeTokensPerSecond: Double?
        get() = if (decodeSteps > 0 && decodeSeconds > 0) decodeSteps / decodeSeconds else null
}

/** An answer. */
class Generation(
    /** Generated token ids, the stop token left out. */
    val ids: IntArray,
    /** Their text, without the white space around it. */
    val text: String,
    /** Float32 [vocabulary] at the first generated position; null where it was stopped before. */
    val firstLogits: FloatArray?,
    val end: AnswerEnd,
    val timings: Timings,
)
