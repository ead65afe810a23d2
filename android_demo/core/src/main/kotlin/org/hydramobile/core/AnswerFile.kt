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
        val whole = wholeLines(bytes)
        val ids = HashSet<String>()
        val lines = Utf8.decode(bytes.copyOf(whole)).split('\n')
        for ((index, line) in lines.withIndex()) {
            if (line.isNotEmpty()) take(line, "${file.path}:${index + 1}", ids)
        }
        written { cut(file, bytes) }
        return ids
    }

    private fun take(line: String, where: String, ids: MutableSet<String>) {
        try {
            val json = Json.parseObject(line, where)
            if (!json.lacks("id")) ids.add(json.string("id"))
            if (!json.lacks("session") && json.child("session").string("program_sha256") != programHash) {
                val what = "$where: these are answers of another program. Name another file, or delete this one."
                throw BenchmarkException(BenchmarkFault.OTHER_ANSWERS, what, where)
            }
        } catch (error: JsonException) {
            val words = error.message.orEmpty()
            throw BenchmarkException(BenchmarkFault.NO_ANSWER, "$where: no answer: $words", where, words, cause = error)
        }
    }

    private fun <T> written(action: () -> T): T = try {
        action()
    } catch (error: IOException) {
        val words = error.message.orEmpty()
        val what =
            "${file.path} cannot be written: $words. Answers written so far are kept; the same call goes on."
        throw BenchmarkException(BenchmarkFault.NOT_WRITTEN, what, file.path, words, cause = error)
    }

    companion object {
        /** End a file, where a host may be waiting for its end, with what went wrong; does what can be done. */
        fun endWith(file: File, failure: BenchmarkException) {
            val end = mapOf("error" to failure.message, "code" to failure.problem.code)
            try {
                if (file.isFile) cut(file, file.readBytes())
                FileOutputStream(file, true).use { it.write((Json.write(mapOf("end" to end)) + "\n").toByteArray()) }
            } catch (_: IOException) {
                // The failure itself is told by the caller; this is for who can read the file only.
            }
        }

        /** Bytes up to the last line's end: a line without one is what a killed run was writing. */
        private fun wholeLines(bytes: ByteArray): Int = bytes.lastIndexOf('\n'.code.toByte()) + 1

        private fun cut(file: File, bytes: ByteArray) {
            val whole = wholeLines(bytes)
            if (whole < bytes.size) RandomAccessFile(file, "rw").use { it.setLength(whole.toLong()) }
        }
    }
}
