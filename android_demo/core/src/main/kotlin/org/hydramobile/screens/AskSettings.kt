/*
 * What the user can set, as typed and as used.
 *
 * Called by the screen of settings, which keeps the texts.
 */
package org.hydramobile.screens

import org.hydramobile.core.AnswerOptions
import org.hydramobile.core.Sampling

/** Values that were typed wrongly; the message tells which and what is expected. */
class SettingsException(message: String) : Exception(message)

/** [threads]: 0 leaves the choice to the runtime. [mostTokens]: of an answer. [temperature]: 0: the likeliest. */
class AskSettings(val threads: Int = 0, val mostTokens: Int = 64, val temperature: Float = 0f) {
    val options: AnswerOptions
        get() = AnswerOptions(mostTokens, sampling = Sampling(temperature))

    companion object {
        const val MOST_THREADS = 64
        const val MOST_TOKENS = 4096
        const val HIGHEST_TEMPERATURE = 5f

        /** Settings as typed; an empty text is the default. SettingsException: a value cannot be. */
        fun of(threads: String, mostTokens: String, temperature: String): AskSettings {
            val default = AskSettings()
            return AskSettings(
                whole("Threads", threads, default.threads, 0..MOST_THREADS),
                whole("Length of an answer", mostTokens, default.mostTokens, 1..MOST_TOKENS),
                warmth(temperature, default.temperature),
            )
        }

        /** As [of], with the default in place of what cannot be: for values that were kept. */
        fun kept(threads: String, mostTokens: String, temperature: String): AskSettings = try {
            of(threads, mostTokens, temperature)
        } catch (_: SettingsException) {
            AskSettings()
        }

        private fun whole(name: String, text: String, default: Int, range: IntRange): Int {
            if (text.isBlank()) return default
            val value = text.trim().toIntOrNull()
            if (value == null || value !in range) {
                throw SettingsException(
                    "$name is \"${text.take(20)}\", expected a whole number from ${range.first} to ${range.last}.",
                )
            }
            return value
        }

        private fun warmth(text: String, default: Float): Float {
            if (text.isBlank()) return default
            // Keyboards of many countries have a comma.
            val value = text.trim().replace(',', '.').toFloatOrNull()
            if (value == null || !(value >= 0 && value <= HIGHEST_TEMPERATURE)) {
                throw SettingsException(
                    "Temperature is \"${text.take(20)}\", expected a number from 0 to $HIGHEST_TEMPERATURE.",
                )
            }
            return value
        }
    }
}
