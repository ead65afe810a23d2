/*
 * A file of questions in, a file of answers out, without a screen: what a host drives through `am start`.
 *
 * Format and resumption are those of the native runner (`native/README.md`); answers also have their `text`. Knows
 * no Android: pictures and memory come through `BenchmarkHost.kt`. Called by the app's benchmark mode.
 */
package org.hydramobile.core

import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Told after each answer: [done] of [total], those of earlier runs included. */
fun interface BenchmarkProgress {
    fun onAnswer(done: Int, total: Int)
}

/**
 * Answers files of questions with one loaded bundle.
 *
 * [facts] go into the session's line, for example the device's model.
 */
class Benchmark(
    private val bundle: Bundle,
    private val runtime: VlmRuntime,
    private val decoder: PictureDecoder,
    private val memory: PeakMemory = PeakMemory.RESIDENT,
    private val facts: Map<String, Any?> = emptyMap(),
) {
    private val generator = Generator(bundle, runtime)

    /**
     * Answer what [answers] lacks of [requests], each line written before the next question is asked.
     *
     * @throws BenchmarkException it ended early; the same call goes on where it did.
     */
    fun run(requests: File, answers: File, signal: StopSignal = StopSignal(), progress: BenchmarkProgress? = null) {
        try {
            val asked = BenchmarkRequests(requests, bundle).read()
            AnswerFile(answers, programHash(bundle)).use { answer(asked, it, signal, progress) }
        } catch (error: Exception) {
            throw BenchmarkException.of(error)
        }
    }

    private fun answer(
        asked: List<BenchmarkRequest>,
        file: AnswerFile,
        signal: StopSignal,
        progress: BenchmarkProgress?,
    ) {
        val left = asked.filter { it.id !in file.answered }
        val skipped = asked.size - left.size
        file.add(mapOf("session" to session()))
        for ((index, request) in left.withIndex()) {
            val picture = request.image?.let { Picture(request.imageKey) { pixels(it, request) } }
            val answer = generator.answer(request.prompt, picture, request.options, signal)
            if (answer.end == AnswerEnd.STOPPED) {
                val what = "Stopped after $index answers. Start it again to go on."
                throw BenchmarkException(BenchmarkFault.BATCH_STOPPED, what, "$index")
            }
            // First, so that an answer in the file has its logits.
            request.logits?.let { save(it, answer.firstLogits!!) }
            file.add(lineOf(request, answer))
            progress?.onAnswer(skipped + index + 1, asked.size)
        }
        // Whoever reads over a connection that can break learns from this line that nothing is missing.
        file.add(mapOf("end" to mapOf("answered" to left.size, "skipped" to skipped)))
    }

    private fun session(): Map<String, Any?> = linkedMapOf<String, Any?>(
        "protocol" to 1,
        "program_sha256" to programHash(bundle),
        "preset" to bundle.manifest.preset,
        "runtime" to runtime.name,
        "library" to runtime.library,
        "machine" to System.getProperty("os.arch"),
        "threads" to runtime.threads,
        "load_seconds" to runtime.loadSeconds,
        "peak_memory_bytes" to memory.bytes(),
    ) + facts

    /** In the words of all runtimes: `Ended` of `hydra_mobile/data/answer_line.py`. */
    private fun ended(end: AnswerEnd): String = when (end) {
        AnswerEnd.STOP_TOKEN -> "stop"
        AnswerEnd.MOST_TOKENS -> "length"
        AnswerEnd.CONTEXT_FULL -> "context"
        AnswerEnd.STOPPED -> "stopped"
    }

    private fun lineOf(request: BenchmarkRequest, answer: Generation): Map<String, Any?> {
        val timings = answer.timings
        return linkedMapOf(
            "id" to request.id,
            "ids" to answer.ids,
            "text" to answer.text,
            "ended" to ended(answer.end),
            "margin" to margin(answer.firstLogits!!),
            "encode_seconds" to timings.encodeSeconds,
            "prefill_seconds" to timings.prefillSeconds,
            "prefill_tokens" to timings.prefillTokens,
            "first_token_seconds" to timings.firstTokenSeconds,
            "decode_seconds" to timings.decodeSeconds,
            "decode_steps" to timings.decodeSteps,
            "decode_tokens_per_second" to timings.decodeTokensPerSecond,
            "peak_memory_bytes" to memory.bytes(),
        )
    }

    /** Pixels of a picture file; a file `*.f32` holds them as they are. */
    private fun pixels(file: File, request: BenchmarkRequest): FloatArray = try {
        if (file.extension == "f32") {
            val floats = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
            FloatArray(floats.remaining()).also { floats.get(it) }
        } else {
            val own = bundle.manifest.image
            val picture = PictureReading(decoder, request.turn ?: bundle.manifest.turnsPictures).read(file)
            ImagePreprocessor(if (request.fit == null) own else own.with(request.fit))
                .preprocess(picture.argb, picture.width, picture.height)
        }
    } catch (error: IOException) {
        val what = "${file.path} cannot be read as a picture: ${error.message}. Copy it again, as PNG."
        throw GenerationException(GenerationProblem.UNUSABLE_PICTURE, what, error)
    }

    private fun save(file: File, logits: FloatArray) {
        val bytes = ByteBuffer.allocate(4 * logits.size).order(ByteOrder.LITTLE_ENDIAN)
        bytes.asFloatBuffer().put(logits)
        val temporary = File("${file.path}.tmp")
        try {
            temporary.writeBytes(bytes.array())
            if (!temporary.renameTo(file)) throw IOException("the file cannot be renamed")
        } catch (error: IOException) {
            val words = error.message.orEmpty()
            val what = "${file.path} cannot be written: $words. The same call goes on."
            throw BenchmarkException(BenchmarkFault.NOT_WRITTEN, what, file.path, words, cause = error)
        }
    }

    companion object {
        /**
         * Do all of a batch in [action]: open the bundle, load the runtime, [run].
         *
         * What ends it early is returned and is also the last line of [answers], `{"end": {"error", "code"}}`, where
         * a host is waiting for an end. Null: it is done.
         */
        fun ending(answers: File, action: () -> Unit): BenchmarkException? {
            try {
                action()
                return null
            } catch (error: Throwable) {
                // A library that is missing too: whoever waits for the end has no other way to learn of it.
                return BenchmarkException.of(error).also { AnswerFile.endWith(answers, it) }
            }
        }

        /** Names a bundle's program: the hash of the file that decodes text. */
        fun programHash(bundle: Bundle): String {
            val files = bundle.manifest.files
            val program = files.firstOrNull { it.role == "program" } ?: files.first { it.role == "text_decoder" }
            return program.sha256
        }

        /** Lead of the largest logit; null where there is one only. */
        internal fun margin(logits: FloatArray): Float? {
            if (logits.size < 2) return null
            val best = Sampler.largest(logits)
            var second = Float.NEGATIVE_INFINITY
            for (index in logits.indices) if (index != best && logits[index] > second) second = logits[index]
            return logits[best] - second
        }
    }
}
