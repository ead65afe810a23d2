package org.hydramobile.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import kotlin.concurrent.thread

/** The loop on a runtime whose every answer is known. */
class GeneratorTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var made: MadeBundle
    private val pixels = FloatArray(3 * 32 * 32)
    private val image = List(4) { -1 }
    private val first = Prompt(intArrayOf(3), intArrayOf(1, 2, 0))
    private val second = Prompt(intArrayOf(3), intArrayOf(1, 1))

    @Before
    fun make() {
        made = MadeBundle(temporary.newFolder())
    }

    @Test
    fun greedyAnswersAreThoseOfALoopWithoutACache() {
        val rule = FakeRuntime.mixed(20)
        val (generator, runtime) = generator(rule)
        val answer = generator.answer(first, picture("one"), AnswerOptions(mostTokens = 50))
        val expected = FakeRuntime.expected(rule, listOf(3) + image + listOf(1, 2, 0), 50)
        assertTrue(
            "an answer of ${expected.size} tokens and of several kinds",
            expected.size == 12 && expected.toSet().size == 3,
        )
        assertEquals(expected, answer.ids.toList())
        assertEquals(AnswerEnd.STOP_TOKEN, answer.end)
        assertEquals(
            listOf("encode", "decode 5 at 0", "decode 3 at 5") + (8 until 20).map {
                "decode 1 at $it"
            },
            runtime.calls,
        )
        assertEquals(12, answer.timings.decodeSteps)
        assertEquals(8, answer.timings.prefillTokens)
        assertNotNull(answer.timings.firstTokenSeconds)
        assertEquals(2f, answer.firstLogits!!.maxOrNull())
    }

    @Test
    fun theNextQuestionAboutAPictureStartsBehindIt() {
        val rule = FakeRuntime.mixed(20)
        val (generator, runtime) = generator(rule)
        generator.answer(first, picture("one"))
        runtime.calls.clear()
        val again = generator.answer(second, picture("one") { throw AssertionError("the picture was read again") })
        assertEquals("decode 2 at 5", runtime.calls.first())
        assertEquals(FakeRuntime.expected(rule, listOf(3) + image + listOf(1, 1), 16), again.ids.toList())
        assertNull(again.timings.encodeSeconds)
        assertNull(again.timings.firstTokenSeconds)
        assertEquals(2, again.timings.prefillTokens)
    }

    @Test
    fun squaresOfAPictureStandBehindTheirTexts() {
        tiles("a", "b", "ab")
        val rule = FakeRuntime.mixed(40)
        val (generator, runtime) = generator(rule)
        runtime.pixelOf = { -1 - it[0] }
        val told = ArrayList<String>()
        val listener = object : AnswerListener {
            override fun onSquare(done: Int, count: Int) {
                told.add("$done of $count")
            }
        }
        val squares = FloatArray(3 * pixels.size).also { it[pixels.size] = 1f }.also { it[2 * pixels.size] = 2f }
        val answer = generator.answer(first, picture("one") { squares }, AnswerOptions(50), listener = listener)
        // "ab" is one token, the third.
        val inTiles = listOf(0) + List(4) { -1 } + 1 + List(4) { -2 } + 2 + List(4) { -3 }
        assertEquals(FakeRuntime.expected(rule, listOf(3) + inTiles + listOf(1, 2, 0), 50), answer.ids.toList())
        assertEquals(listOf("encode", "encode", "encode", "decode 16 at 0", "decode 3 at 16"), runtime.calls.take(5))
        assertEquals(19, answer.timings.prefillTokens)
        assertEquals(listOf("1 of 3", "2 of 3", "3 of 3"), told)
        runtime.calls.clear()
        val again = generator.answer(second, picture("one") { throw AssertionError("the picture was read again") })
        assertEquals("decode 2 at 16", runtime.calls.first())
        assertEquals(FakeRuntime.expected(rule, listOf(3) + inTiles + listOf(1, 1), 16), again.ids.toList())
    }

    @Test
    fun stoppedBetweenTwoSquares() {
        tiles("", "", "")
        val (generator, runtime) = generator { 1 }
        val signal = StopSignal()
        val listener = object : AnswerListener {
            override fun onSquare(done: Int, count: Int) {
                if (done == 2) signal.stop()
            }
        }
        val squares = FloatArray(3 * pixels.size)
        val answer = generator.answer(first, picture("one") { squares }, signal = signal, listener = listener)
        assertEquals(AnswerEnd.STOPPED, answer.end)
        assertEquals(listOf("encode", "encode"), runtime.calls)
        // What was not read whole is no picture that a question can go back to.
        generator.answer(second, picture("one") { squares })
        assertEquals(listOf("encode", "encode", "encode"), runtime.calls.subList(2, 5))
    }

    @Test
    fun everySquareAndTextCounts() {
        tiles("a", "b", "ab")
        limits(maxContext = 18)
        refused(GenerationProblem.PROMPT_TOO_LONG, "has 19 tokens, and the bundle was made for 18") {
            generator { 1 }.first.answer(first, picture("one"))
        }
        limits(maxContext = 256)
        refused(GenerationProblem.UNUSABLE_PICTURE, "the model reads 3 * 3 * 32 * 32") {
            generator { 1 }.first.answer(first, picture("one"))
        }
    }

    @Test
    fun anotherPictureATextOrNoKeyEncodeAgain() {
        val (generator, runtime) = generator(FakeRuntime.mixed(12))
        fun encodes(action: () -> Unit): Boolean {
            runtime.calls.clear()
            action()
            return "encode" in runtime.calls
        }
        assertTrue(encodes { generator.answer(first, picture("one")) })
        assertTrue(encodes { generator.answer(first, picture("two")) })
        assertTrue(!encodes { generator.answer(second, picture("two")) })
        assertTrue(!encodes { generator.answer(Prompt(intArrayOf(1), IntArray(0))) })
        assertTrue(encodes { generator.answer(second, picture("two")) })
        assertTrue(encodes { generator.answer(second, picture(null)) })
        assertTrue(encodes { generator.answer(second, picture(null)) })
    }

    @Test
    fun aCaptionHasNothingBehindThePicture() {
        val rule = FakeRuntime.mixed(9)
        val (generator, runtime) = generator(rule)
        val prompt = Prompt(intArrayOf(3), IntArray(0))
        val expected = FakeRuntime.expected(rule, listOf(3) + image, 16)
        assertEquals(expected, generator.answer(prompt, picture("one")).ids.toList())
        runtime.calls.clear()
        assertEquals(expected, generator.answer(prompt, picture("one")).ids.toList())
        assertEquals("decode 1 at 5", runtime.calls.first())
    }

    @Test
    fun mostTokensAndNoStopToken() {
        val (generator, _) = generator { 2 }
        assertEquals(0, generator.answer(first, picture("one")).ids.size)
        val answer = generator.answer(first, picture("one"), AnswerOptions(mostTokens = 5, stop = false))
        assertArrayEquals(intArrayOf(2, 2, 2, 2, 2), answer.ids)
        assertEquals(AnswerEnd.MOST_TOKENS, answer.end)
        assertEquals(4, answer.timings.decodeSteps)
    }

    @Test
    fun stoppedBetweenTwoTokens() {
        val rule = FakeRuntime.mixed(200)
        val (generator, _) = generator(rule)
        val signal = StopSignal()
        var told = 0
        val answer = generator.answer(
            first, picture("one"), AnswerOptions(100), signal,
            listener {
                if (++told ==
                    3
                ) {
                    signal.stop()
                }
            },
        )
        assertEquals(AnswerEnd.STOPPED, answer.end)
        assertEquals(3, answer.ids.size)
        val next = generator.answer(second, picture("one"))
        assertEquals(FakeRuntime.expected(rule, listOf(3) + image + listOf(1, 1), 16), next.ids.toList())
    }

    @Test
    fun stoppedFromAnotherThread() {
        val (generator, runtime) = generator { 1 }
        val signal = StopSignal()
        val stopper = thread(start = false) { signal.stop() }
        runtime.onDecode = { call ->
            if (call == 6) {
                stopper.start()
                stopper.join()
            }
        }
        val answer = generator.answer(first, picture("one"), AnswerOptions(200), signal)
        assertEquals(AnswerEnd.STOPPED, answer.end)
        assertEquals(5, answer.ids.size)
    }

    @Test
    fun stoppedBeforeItBegins() {
        val (generator, runtime) = generator { 1 }
        val answer = generator.answer(first, picture("one"), signal = StopSignal().also { it.stop() })
        assertEquals(AnswerEnd.STOPPED, answer.end)
        assertEquals(0, answer.ids.size)
        assertEquals("", answer.text)
        assertNull(answer.firstLogits)
        assertTrue("nothing was computed", runtime.calls.isEmpty())
    }

    @Test
    fun aFullContextEndsAnAnswer() {
        limits(maxContext = 12)
        val (generator, runtime) = generator { 1 }
        val answer = generator.answer(first, picture("one"), AnswerOptions(100))
        assertEquals(AnswerEnd.CONTEXT_FULL, answer.end)
        // The last token needs no place: nothing follows it.
        assertEquals(12 - 8 + 1, answer.ids.size)
        assertEquals(12, runtime.held.size)
        limits(maxContext = 8)
        assertEquals(1, generator { 1 }.first.answer(first, picture("one"), AnswerOptions(100)).ids.size)
    }

    @Test
    fun promptsThatCannotBe() {
        limits(maxContext = 7)
        val (generator, runtime) = generator { 1 }
        refused(GenerationProblem.PROMPT_TOO_LONG, "has 8 tokens, and the bundle was made for 7") {
            generator.answer(first, picture("one"))
        }
        refused(GenerationProblem.EMPTY_PROMPT, "Ask a question") { generator.answer(Prompt(IntArray(0), IntArray(0))) }
        refused(GenerationProblem.MISUSED, "Token id 320") { generator.answer(Prompt(intArrayOf(320), IntArray(0))) }
        assertTrue("nothing was computed", runtime.calls.isEmpty())
    }

    @Test
    fun picturesOfAnotherShape() {
        val (generator, _) = generator { 1 }
        refused(GenerationProblem.UNUSABLE_PICTURE, "has 5 values, the model reads 3 * 32 * 32") {
            generator.answer(first, picture("one") { FloatArray(5) })
        }
    }

    @Test
    fun whatFailsIsTypedAndForgetsThePicture() {
        val (generator, runtime) = generator { 1 }
        generator.answer(first, picture("one"))
        val failures = listOf(
            IllegalStateException("broken") to GenerationProblem.RUNTIME_FAILED,
            OutOfMemoryError("none") to GenerationProblem.OUT_OF_MEMORY,
            GenerationException(GenerationProblem.MISUSED, "mine") to GenerationProblem.MISUSED,
        )
        for ((failure, problem) in failures) {
            runtime.onDecode = { throw failure }
            refused(problem, "") { generator.answer(first, picture("one")) }
            runtime.onDecode = {}
            runtime.calls.clear()
            assertEquals(16, generator.answer(first, picture("one")).ids.size)
            assertEquals("encode", runtime.calls.first())
        }
    }

    @Test
    fun logitsThatAreNoNumbers() {
        val (generator, runtime) = generator { 1 }
        for (broken in listOf(Float.NaN, Float.POSITIVE_INFINITY)) {
            runtime.logitsOf = { FloatArray(320).also { it[7] = broken } }
            refused(GenerationProblem.RUNTIME_FAILED, "not all of them are numbers") {
                generator.answer(first, picture("one"))
            }
        }
        runtime.logitsOf = { FloatArray(320) { Float.NEGATIVE_INFINITY } }
        refused(GenerationProblem.RUNTIME_FAILED, "not all of them are numbers") {
            generator.answer(first, picture("one"))
        }
    }

    @Test
    fun textComesInWholeCharacters() {
        // The bytes of "ä" are two tokens; the last token is half a character.
        val vocabulary = "\"a\": 5, \"b\": 6, \"\u00c3\": 0, \"\u00a4\": 1"
        made.tokenizer(MadeBundle.TOKENIZER.replace("\"a\": 0, \"b\": 1", vocabulary))
        val script = listOf(0, 1, 6, 0)
        val (generator, _) = generator { script[it.size - 1] }
        val pieces = ArrayList<String>()
        val answer = generator.answer(
            Prompt(intArrayOf(3), IntArray(0)), options = AnswerOptions(mostTokens = 4),
            listener = listener {
                pieces.add(it)
            },
        )
        assertEquals(listOf("", "ä", "b", "", "\uFFFD"), pieces)
        assertEquals("äb\uFFFD", answer.text)
    }

    @Test
    fun listenersLearnOfTheFirstTokenBeforeItsText() {
        val (generator, _) = generator(FakeRuntime.mixed(20))
        val told = ArrayList<String>()
        val listener = object : AnswerListener {
            override fun onFirstToken(timings: Timings) {
                told.add("first ${timings.encodeSeconds != null} ${timings.decodeSteps}")
            }

            override fun onText(text: String, timings: Timings) {
                told.add("text ${timings.decodeSteps}")
            }
        }
        generator.answer(first, picture("one"), AnswerOptions(3), listener = listener)
        assertEquals(listOf("first true 0", "text 0", "text 1", "text 2"), told)
    }

    @Test
    fun aSeedGivesTheSameAnswerAgain() {
        fun sampled(seed: Long): List<Int> {
            val (generator, runtime) = generator { 1 }
            runtime.logitsOf = { FloatArray(320) { if (it < 100 && it != 2) 1f else -20f } }
            val options = AnswerOptions(40, sampling = Sampling(temperature = 1f, seed = seed))
            return generator.answer(first, picture("one"), options).ids.toList()
        }
        assertEquals(sampled(1), sampled(1))
        assertTrue("another seed, another answer", sampled(1) != sampled(2))
        assertTrue("many tokens", sampled(1).toSet().size > 20)
    }

    private fun generator(rule: (List<Int>) -> Int): Pair<Generator, FakeRuntime> {
        val bundle = Bundle.open(made.folder)
        val runtime = FakeRuntime(bundle.manifest, rule)
        return Generator(bundle, runtime) to runtime
    }

    private fun picture(key: String?, read: () -> FloatArray = { pixels }) = Picture(key, read)

    private fun listener(onText: (String) -> Unit) = object : AnswerListener {
        override fun onText(text: String, timings: Timings) = onText(text)
    }

    private fun tiles(vararg texts: String) {
        made.part("image")["fit"] = "tiles"
        made.part("image")["tiles"] =
            mapOf("rows" to 1, "columns" to texts.size - 1, "overview" to "image", "texts" to texts.toList())
        made.write()
    }

    private fun limits(maxContext: Int) {
        made.manifest["limits"] = mapOf("max_context" to maxContext, "max_prefill" to 4)
        made.write()
    }

    private fun refused(problem: GenerationProblem, message: String, action: () -> Unit) {
        try {
            action()
        } catch (error: GenerationException) {
            assertEquals(error.message, problem, error.problem)
            assertTrue("${error.message} lacks: $message", message in error.message!!)
            return
        }
        fail("was answered; expected $problem")
    }
}
