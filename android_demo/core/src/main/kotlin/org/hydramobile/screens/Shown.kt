/*
 * Numbers as the screens show them: one place, so that they read the same everywhere.
 *
 * Called by the answer screen, the speed test's screen and the list of models.
 */
package org.hydramobile.screens

import org.hydramobile.core.AnswerEnd
import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.Manifest
import org.hydramobile.core.Speed
import org.hydramobile.core.Summary
import org.hydramobile.core.Timings
import java.util.Locale

/** Texts for people. */
object Shown {
    /** Speed, first token (picture and prompt apart) and [memory] in bytes of a running or finished answer. */
    fun facts(timings: Timings, memory: Long?): String {
        val parts = ArrayList<String>()
        timings.decodeTokensPerSecond?.let { parts.add("${digits(it)} tokens/s") }
        val first = timings.firstTokenSeconds
        val encode = timings.encodeSeconds
        if (first != null && encode != null) {
            val split = "picture ${seconds(encode)}, prompt ${seconds(timings.prefillSeconds)}"
            parts.add("first token ${seconds(first)} ($split)")
        } else {
            parts.add("prompt ${seconds(timings.prefillSeconds)}")
        }
        memory?.let { parts.add("memory ${DeviceLimits.mebibytes(it)}") }
        return parts.joinToString(" · ")
    }

    /** Why an answer ended, where a reader would wonder; else null. */
    fun ended(end: AnswerEnd): String? = when (end) {
        AnswerEnd.STOP_TOKEN -> null
        AnswerEnd.MOST_TOKENS -> "cut off at the length that is set"
        AnswerEnd.CONTEXT_FULL -> "the model's context is full"
        AnswerEnd.STOPPED -> "stopped"
    }

    /** Lines of a speed test. */
    fun speed(speed: Speed): String = listOf(
        "Picture (s)" to speed.encodeSeconds,
        "Prompt (tokens/s)" to speed.prefillRate,
        "First token (s)" to speed.firstTokenSeconds,
        "Answer (tokens/s)" to speed.decodeRate,
    ).joinToString("\n") { (name, values) -> "$name: ${summary(Summary.of(values))}" }

    /** Size, preset and memory of a model. */
    fun model(manifest: Manifest): String {
        val memory = manifest.footprint?.let { DeviceLimits.PROCESS_BYTES + it.peak }
        return listOfNotNull(
            manifest.base.ifEmpty { null },
            "${manifest.runtime} ${manifest.preset}",
            "${DeviceLimits.mebibytes(manifest.modelBytes)} on disk",
            memory?.let { "needs about ${DeviceLimits.mebibytes(it)}" },
        ).joinToString(" · ")
    }

    private fun summary(values: Summary?): String {
        if (values == null) return "not measured"
        return "${digits(values.median)} (${digits(values.least)} to ${digits(values.most)}, ${values.count} repeats)"
    }

    private fun seconds(value: Double) = "${digits(value)} s"

    /** Three digits that count. */
    private fun digits(value: Double): String {
        val places = if (value >= 100) {
            0
        } else if (value >= 10) {
            1
        } else {
            2
        }
        return String.format(Locale.ROOT, "%.${places}f", value)
    }
}
