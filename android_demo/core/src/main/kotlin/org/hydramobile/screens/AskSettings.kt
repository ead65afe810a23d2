/*
 * What the user can set. Kept as texts, so that what an older or newer version wrote can be read.
 */
package org.hydramobile.screens

import org.hydramobile.core.AnswerOptions
import org.hydramobile.core.Sampling

/**
 * [threads]: 0 leaves the choice to the app. [mostTokens]: of an answer. [temperature]: 0: the likeliest. [topP]: share
 * of the likeliest that is drawn from. [seed]: null: another one for each answer.
 */
class AskSettings(
    val threads: Int = 0,
    val mostTokens: Int = 64,
    val temperature: Float = 0f,
    val topP: Float = 1f,
    val seed: Long? = null,
) {
    val options: AnswerOptions
        get() = AnswerOptions(mostTokens, sampling = Sampling(temperature, topP = topP, seed = seed))

    companion object {
        const val THREADS = "threads"
        const val MOST_TOKENS = "most_tokens"
        const val TEMPERATURE = "temperature"
        const val TOP_P = "top_p"
        const val SEED = "seed"
        const val MOST_THREADS = 64
        const val LONGEST = 4096
        const val HOTTEST = 5f

        /** Settings as they were kept; the default in place of what is missing or cannot be. */
        fun of(kept: (String) -> String?): AskSettings {
            val default = AskSettings()
            fun whole(name: String, range: IntRange, otherwise: Int) =
                kept(name)?.trim()?.toIntOrNull()?.takeIf { it in range } ?: otherwise

            // Earlier versions kept what was typed, and keyboards of many countries have a comma.
            fun part(name: String, otherwise: Float, fits: (Float) -> Boolean) =
                kept(name)?.trim()?.replace(',', '.')?.toFloatOrNull()?.takeIf(fits) ?: otherwise
            return AskSettings(
                whole(THREADS, 0..MOST_THREADS, default.threads),
                whole(MOST_TOKENS, 1..LONGEST, default.mostTokens),
                part(TEMPERATURE, default.temperature) { it >= 0 && it <= HOTTEST },
                part(TOP_P, default.topP) { it > 0 && it <= 1 },
                kept(SEED)?.trim()?.toLongOrNull(),
            )
        }
    }
}
