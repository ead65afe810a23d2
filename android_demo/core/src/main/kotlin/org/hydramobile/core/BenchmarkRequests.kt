/*
 * The questions of a batch: a file of JSON lines, in the format of `native/README.md`.
 *
 * All lines are checked before the first is answered. Where a line has the `question`, the app's own template and
 * tokenizer make the prompt, and the line's ids are not looked at. Called by `Benchmark`.
 */
package org.hydramobile.core

import java.io.File
import java.io.IOException

/**
 * One question; [image] and [logits] are files.
 *
 * [fit] overrides the bundle's way to make a picture square, [turn] its way to read picture files.
 */
class BenchmarkRequest(
    val id: String,
    val prompt: Prompt,
    val image: File?,
    val imageKey: String?,
    val fit: Fit?,
    val turn: Boolean?,
    val options: AnswerOptions,
    val logits: File?,
)

/** Reads the questions of one file for one bundle. */
internal class BenchmarkRequests(private val file: File, private val bundle: Bundle) {
    /** BenchmarkException INPUT: the file, or a line of it, is wrong. */
    fun read(): List<BenchmarkRequest> {
        val lines = try {
            file.readText().lines()
        } catch (error: IOException) {
            val what = "the file cannot be read; expected requests, one JSON a line."
            val words = error.message.orEmpty()
            throw wrong(BenchmarkFault.REQUESTS_UNREADABLE, file.path, what, words, cause = error)
        }
        val ids = HashSet<String>()
        return lines.withIndex().filter { it.value.isNotBlank() }.map { (index, line) ->
            val where = "${file.path}:${index + 1}"
            val request = try {
                requestOf(Json.parseObject(line, where))
            } catch (error: JsonException) {
                val words = error.message.orEmpty()
                throw BenchmarkException(BenchmarkFault.REQUEST_DAMAGED, words, words, cause = error)
            }
            check(request, where)
            if (!ids.add(request.id)) {
                val what = "the id `${request.id}` stands there twice."
                throw wrong(BenchmarkFault.REQUEST_TWICE, where, what, request.id)
            }
            request
        }
    }

    private fun requestOf(line: JsonObject): BenchmarkRequest {
        val image = if (line.lacks("image")) null else beside(line.string("image"))
        val prompt = if (line.lacks("question")) {
            Prompt(line.ints("before"), if (image == null) IntArray(0) else line.ints("after"))
        } else {
            bundle.template.prompt(line.string("question"), image != null)
        }
        val most = if (line.lacks("max_new_tokens")) AnswerOptions().mostTokens else line.int("max_new_tokens")
        if (most < 1) throw JsonException("${line.where}: key `max_new_tokens` is $most, expected at least 1.")
        return BenchmarkRequest(
            id = line.string("id"),
            prompt = prompt,
            image = image,
            imageKey = if (line.lacks("image_key")) image?.path else line.string("image_key"),
            fit = if (line.lacks("fit")) null else Fit.named(line.string("fit"), line.where),
            turn = if (line.lacks("turn")) null else line.boolean("turn"),
            options = AnswerOptions(most, if (line.lacks("stop")) true else line.boolean("stop")),
            logits = if (line.lacks("logits")) null else beside(line.string("logits")),
        )
    }

    /** A file by its name in a line: relative to the file of requests. */
    private fun beside(name: String): File {
        val named = File(name)
        return if (named.isAbsolute) named else File(file.absoluteFile.parentFile, name)
    }

    private fun check(request: BenchmarkRequest, where: String) {
        val manifest = bundle.manifest
        val ids = request.prompt.before + request.prompt.after
        val outside = ids.firstOrNull { it !in 0 until manifest.vocabSize }
        if (outside != null) {
            val last = manifest.vocabSize - 1
            val what = "token id $outside lies outside of 0..$last."
            throw wrong(BenchmarkFault.REQUEST_OUTSIDE, where, what, "$outside", "$last")
        }
        val tokens = ids.size + if (request.image == null) 0 else bundle.pictureTokens
        if (tokens == 0) throw wrong(BenchmarkFault.REQUEST_EMPTY, where, "the prompt is empty.")
        if (tokens >= manifest.maxContext) {
            val room = "the program holds ${manifest.maxContext}, answer included."
            val what = "the prompt has $tokens tokens; $room"
            throw wrong(BenchmarkFault.REQUEST_TOO_LONG, where, what, "$tokens", "${manifest.maxContext}")
        }
        if (request.image != null && !request.image.isFile) {
            val what = "${request.image.path} is missing: expected a picture."
            throw wrong(BenchmarkFault.REQUEST_WITHOUT_PICTURE, where, what, request.image.path)
        }
    }

    private fun wrong(
        fault: BenchmarkFault,
        where: String,
        what: String,
        vararg arguments: String,
        cause: Throwable? = null,
    ) = BenchmarkException(fault, "$where: $what", where, *arguments, cause = cause)
}
