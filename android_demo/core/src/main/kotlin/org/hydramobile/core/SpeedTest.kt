/*
 * How fast a loaded bundle is here: fixed prompt, fixed number of new tokens, several repeats.
 *
 * The same question, picture and length as `hydra_mobile/evaluation/workers/speed.py`. Called by the benchmark screen.
 */
package org.hydramobile.core

/** Repeats by measurement, the warm-up left out; rates are in tokens per second. */
class Speed(
    /** Tokens of the prompt, the picture's included. */
    val prefillTokens: Int,
    val encodeSeconds: List<Double>,
    val prefillRate: List<Double>,
    val firstTokenSeconds: List<Double>,
    val decodeRate: List<Double>,
)

/** Measures one loaded bundle. */
class SpeedTest(private val bundle: Bundle, runtime: VlmRuntime) {
    private val generator = Generator(bundle, runtime)

    /**
     * Answer one warm-up and then [repeats] times; [onRepeat] is told how many are done.
     *
     * Stopped by [signal], it gives what was measured until then. GenerationException: as `Generator.answer`.
     */
    fun measure(repeats: Int = REPEATS, signal: StopSignal = StopSignal(), onRepeat: (Int) -> Unit = {}): Speed {
        val side = bundle.manifest.image.size
        val pixels = bundle.preprocessor.preprocess(IntArray(side * side) { COLOUR }, side, side)
        val options = AnswerOptions(mostTokens = NEW_TOKENS, stop = false)
        val prompt = bundle.template.prompt(QUESTION, withImage = true)
        val measured = ArrayList<Timings>()
        for (repeat in 0..repeats) {
            // Without a key the picture is encoded each time.
            val answer = generator.answer(prompt, Picture(null) { pixels }, options, signal)
            if (answer.end == AnswerEnd.STOPPED) break
            if (repeat > 0) measured.add(answer.timings)
            onRepeat(repeat)
        }
        return Speed(
            prefillTokens = measured.lastOrNull()?.prefillTokens ?: 0,
            encodeSeconds = measured.mapNotNull { it.encodeSeconds },
            prefillRate = measured.map { it.prefillTokens / it.prefillSeconds },
            firstTokenSeconds = measured.mapNotNull { it.firstTokenSeconds },
            decodeRate = measured.mapNotNull { it.decodeTokensPerSecond },
        )
    }

    companion object {
        const val REPEATS = 5
        const val NEW_TOKENS = 32
        private const val QUESTION = "Describe the image briefly."
        private const val COLOUR = 0xFF5A8C3C.toInt()
    }
}
