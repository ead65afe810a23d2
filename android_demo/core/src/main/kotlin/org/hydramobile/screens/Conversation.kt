/*
 * Questions and answers about one picture, kept in a file so that they outlive the app's process.
 *
 * The model sees one question at a time; what was asked before is for the reader. Knows no Android. Called by the
 * answer screen.
 */
package org.hydramobile.screens

import org.hydramobile.core.Json
import org.hydramobile.core.JsonException
import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** A question with its answer; [facts]: a line about how long it took. */
class Turn(val question: String, val answer: String, val facts: String)

/** The turns in [file], oldest first. Not for several threads at once. */
class Conversation(private val file: File) {
    private val all = ArrayList<Turn>()

    val turns: List<Turn> get() = all

    init {
        try {
            if (file.isFile) file.readLines().forEach(::take)
        } catch (_: IOException) {
            // A history that cannot be read is no reason not to answer.
        }
    }

    /** Add a turn; one that cannot be written, on a full disk for example, is shown until the app ends. */
    fun add(turn: Turn) {
        all.add(turn)
        val line = Json.write(mapOf("question" to turn.question, "answer" to turn.answer, "facts" to turn.facts))
        try {
            FileOutputStream(file, true).use { it.write((line + "\n").toByteArray()) }
        } catch (_: IOException) {
            return
        }
    }

    /** Forget everything, in the file too. */
    fun clear() {
        all.clear()
        file.delete()
    }

    private fun take(line: String) {
        try {
            val json = Json.parseObject(line, file.name)
            all.add(Turn(json.string("question"), json.string("answer"), json.string("facts")))
        } catch (_: JsonException) {
            // The line that a killed process was writing.
        }
    }
}
