/*
 * The answers of a batch: a file of JSON lines that only grows, so that a run which was killed can go on.
 *
 * Called by `Benchmark`; `native/README.md` describes the lines.
 */
package org.hydramobile.core

import java.io.Closeable
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.RandomAccessFile

/** Answers of the program with [programHash] in [file]. BenchmarkException OUTPUT: it cannot be written. */
internal class AnswerFile(private val file: File, private val programHash: String) : Closeable {
    /** Ids that were answered before. */
    val answered: Set<String> = earlier()
    private val out = written { FileOutputStream(file, true) }

    /** Put one line into the file before this returns. */
    fun add(line: Map<String, Any?>) = written { out.write((Json.write(line) + "\n").toByteArray()) }

    override fun close() = out.close()

    private fun earlier(): Set<String> {
        if (!file.isFile) return emptySet()
        val bytes = written { file.readBytes() }
        // A line without an end is what a killed run was writing.
        val whole = bytes.lastIndexOf('\n'.code.toByte()) + 1
        val ids = HashSet<String>()
        val lines = Utf8.decode(bytes.copyOf(whole)).split('\n')
        for ((index, line) in lines.withIndex()) {
            if (line.isNotEmpty()) take(line, "${file.path}:${index + 1}", ids)
        }
        if (whole < bytes.size) written { RandomAccessFile(file, "rw").use { it.setLength(whole.toLong()) } }
        return ids
    }

    private fun take(line: String, where: String, ids: MutableSet<String>) {
        try {
            val json = Json.parseObject(line, where)
            if (!json.lacks("id")) ids.add(json.string("id"))
            if (!json.lacks("session") && json.child("session").string("program_sha256") != programHash) {
                val what = "$where: these are answers of another program. Name another file, or delete this one."
                throw BenchmarkException(BenchmarkProblem.INPUT, what)
            }
        } catch (error: JsonException) {
            throw BenchmarkException(BenchmarkProblem.INPUT, "$where: no answer: ${error.message}", error)
        }
    }

    private fun <T> written(action: () -> T): T = try {
        action()
    } catch (error: IOException) {
        throw BenchmarkException(
            BenchmarkProblem.OUTPUT,
            "${file.path} cannot be written: ${error.message}. Answers written so far are kept; the same call goes on.",
            error,
        )
    }
}
