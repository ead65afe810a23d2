/*
 * The loop from a prompt to an answer: `hydra_mobile/runtimes/generation.py`, with sampling and a way to stop.
 *
 * Keeps the last picture's prefix in the cache: the next question about the same picture costs neither an
 * encoding nor a prefill of the image. Knows no runtime and no screen; a conversation is the caller's matter.
 * Called by the app's answer screen and by the benchmark mode.
 */
package org.hydramobile.core

/**
 * Answers questions with one runtime. One answer at a time.
 *
 * Reads the bundle's tokenizer at once; BundleException: it cannot be used.
 */
class Generator(private val bundle: Bundle, private val runtime: VlmRuntime) {
    private val limits = bundle.manifest
    private val tokenizer = bundle.tokenizer
    private val squareTexts = bundle.squareTexts
    private var prefixKey: String? = null
    private var prefixLength = 0
    private var prefixLogits = FloatArray(0)

    /**
     * Answer one [prompt], whose image embeddings of [picture] come between its two parts; in tiles, the text before
     * each square comes with them.
     *
     * [signal] ends it between two steps; what was generated until then is returned.
     *
     * @throws GenerationException with the kind of the problem; the next answer starts from nothing.
     */
    fun answer(
        prompt: Prompt,
        picture: Picture? = null,
        options: AnswerOptions = AnswerOptions(),
        signal: StopSignal = StopSignal(),
        listener: AnswerListener? = null,
    ): Generation {
        val answer = Answer(options, signal, listener)
        try {
            requireFits(prompt, picture != null)
            return answer.give(prompt, picture)
        } catch (error: RuntimeException) {
            val problem = GenerationProblem.RUNTIME_FAILED
            throw GenerationException(problem, "${runtime.library} could not answer: $error. Ask again.", error)
        } catch (error: OutOfMemoryError) {
            val what = "No memory is left for an answer. Close other apps, or use a smaller model."
            throw GenerationException(GenerationProblem.OUT_OF_MEMORY, what, error)
        } finally {
            // What an answer that broke off has left in the cache is not known.
            if (!answer.isGiven) prefixKey = null
        }
    }

    private fun requireFits(prompt: Prompt, withPicture: Boolean) {
        val text = prompt.before.size + prompt.after.size
        val count = text + if (withPicture) bundle.pictureTokens else 0
        if (count == 0) {
            throw GenerationException(GenerationProblem.EMPTY_PROMPT, "The prompt is empty. Ask a question.")
        }
        if (count > limits.maxContext) {
            throw GenerationException(
                GenerationProblem.PROMPT_TOO_LONG,
                "The prompt has $count tokens, and the bundle was made for ${limits.maxContext}, answer included. " +
                    "Ask a shorter question, or export with a larger max_context.",
                arguments = listOf("$count", "${limits.maxContext}"),
            )
        }
        val wrong = (prompt.before + prompt.after).firstOrNull { it !in 0 until limits.vocabSize } ?: return
        throw GenerationException(
            GenerationProblem.MISUSED,
            "Token id $wrong lies outside of the vocabulary of ${limits.vocabSize}. Use the bundle's own tokenizer.",
        )
    }

    /** One answer on its way. */
    private inner class Answer(
        private val options: AnswerOptions,
        private val signal: StopSignal,
        private val listener: AnswerListener?,
    ) {
        private val clock = AnswerClock()
        private val ids = IdList()
        private val stream = tokenizer.streaming()
        private var firstLogits: FloatArray? = null
        var isGiven = false
            private set

        fun give(prompt: Prompt, picture: Picture?): Generation {
            var rest = prompt.before
            var length = 0
            if (picture == null) {
                prefixKey = null
            } else {
                if (picture.key == null || picture.key != prefixKey) {
                    if (!takePicture(picture, prompt.before)) return generation(AnswerEnd.STOPPED)
                }
                rest = prompt.after
                length = prefixLength
            }
            if (signal.isSet) return generation(AnswerEnd.STOPPED)
            var logits = prefixLogits
            clock.prefill(rest.size) {
                // A caption's template has nothing behind the picture.
                if (rest.isNotEmpty()) logits = runtime.decode(runtime.embed(rest), rest.size, length)
            }
            firstLogits = logits
            return generation(decode(logits, length + rest.size))
        }

        private fun decode(first: FloatArray, prefilled: Int): AnswerEnd {
            val sampler = Sampler(options.sampling)
            var length = prefilled
            var token = sampler.next(first)
            clock.firstToken()
            listener?.onFirstToken(clock.timings())
            while (!(options.stop && token in bundle.stopIds)) {
                ids.add(token)
                val text = stream.add(token)
                listener?.onText(text, clock.timings())
                if (ids.size == options.mostTokens) return AnswerEnd.MOST_TOKENS
                if (length >= limits.maxContext) return AnswerEnd.CONTEXT_FULL
                if (signal.isSet) return AnswerEnd.STOPPED
                token = sampler.next(runtime.decode(runtime.embed(intArrayOf(token)), 1, length++))
                clock.step()
            }
            return AnswerEnd.STOP_TOKEN
        }

        /** Put a picture and what is before it into the cache; false: stopped. */
        private fun takePicture(picture: Picture, before: IntArray): Boolean {
            prefixKey = null
            val pixels = picture.pixels()
            val image = limits.image
            if (pixels.size != image.squares * image.squareValues) {
                val squares = if (image.squares == 1) "" else "${image.squares} * "
                throw GenerationException(
                    GenerationProblem.UNUSABLE_PICTURE,
                    "The picture has ${pixels.size} values, the model reads ${squares}3 * ${image.size} * " +
                        "${image.size}. Prepare it with the bundle's own recipe.",
                )
            }
            if (signal.isSet) return false
            val features = clock.encode { encoded(pixels) }
            if (signal.isSet) return false
            val count = before.size + bundle.pictureTokens
            clock.prefill(count) { prefixLogits = runtime.decode(rows(before, features), count, 0) }
            prefixLength = count
            prefixKey = picture.key
            return true
        }

        /** Embeddings of each square, which the vision encoder sees one at a time; fewer where it was stopped. */
        private fun encoded(pixels: FloatArray): List<FloatArray> {
            val size = limits.image.squareValues
            val features = ArrayList<FloatArray>()
            for (square in squareTexts.indices) {
                if (signal.isSet) break
                features.add(runtime.encodeImage(pixels.copyOfRange(square * size, (square + 1) * size)))
                listener?.onSquare(square + 1, squareTexts.size)
            }
            return features
        }

        /** What is before a picture, and the picture: each square behind its text. */
        private fun rows(before: IntArray, features: List<FloatArray>): FloatArray {
            val parts = ArrayList<FloatArray>()
            parts.add(embedded(before))
            for ((text, square) in squareTexts.zip(features)) {
                parts.add(embedded(text))
                parts.add(square)
            }
            val all = FloatArray(parts.sumOf { it.size })
            var at = 0
            for (part in parts) {
                part.copyInto(all, at)
                at += part.size
            }
            return all
        }

        private fun embedded(ids: IntArray) = if (ids.isEmpty()) FloatArray(0) else runtime.embed(ids)

        private fun generation(end: AnswerEnd): Generation {
            val generated = ids.toArray()
            val timings = clock.timings()
            // A character that was held back is shown as what it is: broken.
            val rest = stream.end()
            if (rest.isNotEmpty()) listener?.onText(rest, timings)
            isGiven = true
            return Generation(generated, tokenizer.answer(generated), firstLogits, end, timings)
        }
    }
}
