/*
 * A file of records, a line of JSON each, in which a later line with the same id takes the place of an earlier one.
 *
 * So a record can be written at its beginning and at its end, and a killed process loses at most the end.
 */
package org.hydramobile.screens

import org.hydramobile.core.Json
import org.hydramobile.core.JsonException
import org.hydramobile.core.JsonObject
import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** Records in [file], at most the last [most]. For one thread at a time. */
internal class LineFile(private val file: File, private val most: Int) {
    /** All records, oldest first; lines that are none are left out. */
    fun <R> read(idOf: (R) -> String, recordOf: (JsonObject, Int) -> R): List<R> {
        val found = LinkedHashMap<String, R>()
        try {
            if (!file.isFile) return emptyList()
            file.bufferedReader().useLines { lines ->
                lines.forEachIndexed { index, line ->
                    try {
                        val record = recordOf(Json.parseObject(line, file.name), index)
                        found[idOf(record)] = record
                    } catch (_: JsonException) {
                        // The line that a killed process was writing.
                    }
                }
            }
        } catch (_: IOException) {
            // A history that cannot be read is no reason not to answer.
        }
        return found.values.toList().takeLast(most)
    }

    /** Add a line. IOException: it cannot be written. */
    fun add(line: String) {
        file.parentFile?.mkdirs()
        // What a killed process left without its end must not swallow this line.
        val isCut = file.isFile && file.length() > 0 && file.inputStream().use {
            it.skip(file.length() - 1)
            it.read() != '\n'.code
        }
        FileOutputStream(file, true).use { it.write(((if (isCut) "\n" else "") + line + "\n").toByteArray()) }
    }

    /** Put [lines] in the place of all that is there. IOException: they cannot be written; what was there stays. */
    fun write(lines: List<String>) {
        if (lines.isEmpty()) {
            if (!file.delete() && file.exists()) throw IOException("${file.name} cannot be deleted")
            return
        }
        val temporary = File("${file.path}.tmp")
        temporary.writeText(lines.joinToString("") { it + "\n" })
        if (!temporary.renameTo(file)) throw IOException("${file.name} cannot be replaced")
    }
}
