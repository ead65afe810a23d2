/*
 * The last errors, for a report that a person may copy. No questions, answers or pictures.
 */
package org.hydramobile.demo

import org.hydramobile.screens.Problem

/** At most [MOST] lines, for any thread; [clock]: milliseconds since 1970. */
internal class Log(private val clock: () -> Long) {
    private val kept = ArrayDeque<String>()

    fun add(problem: Problem) = add("${problem.code} ${problem.arguments.joinToString()}")

    fun add(error: Throwable) = add(error.stackTrace.take(FRAMES).joinToString("\n", "$error\n") { "    at $it" })

    @Synchronized
    fun lines(): List<String> = kept.toList()

    @Synchronized
    private fun add(text: String) {
        kept.addLast("${clock()} $text")
        while (kept.size > MOST) kept.removeFirst()
    }

    private companion object {
        const val MOST = 50
        const val FRAMES = 12
    }
}
