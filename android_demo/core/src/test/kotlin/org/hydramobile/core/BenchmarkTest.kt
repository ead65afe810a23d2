package org.hydramobile.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Files of questions and answers, on a runtime whose every answer is known. */
class BenchmarkTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var bundle: Bundle
    private lateinit var runtime: FakeRuntime
    private lateinit var requests: File
    private lateinit var answers: File
    private val rule = FakeRuntime.mixed(11)
    private val read = ArrayList<String>()
    private val decoder = PictureDecoder { file ->
        read.add(file.name)
        if (file.length() == 0L) throw IOException("empty")
        DecodedPicture(IntArray(8) { -1 }, 4, 2)
    }

    @Before
    fun make() {
        bundle = Bundle.open(MadeBundle(temporary.newFolder()).folder)
        runtime = FakeRuntime(bundle.manifest, rule)
        requests = temporary.newFile("requests.jsonl")
        answers = File(temporary.root, "answers.jsonl")
        File(temporary.root, "pictures").mkdir()
        for (name in listOf("one", "two")) File(temporary.root, "pictures/$name.png").writeText(name)
        ask(
            """{"id": "a", "image": "pictures/one.png", "question": "ab", "before": [0], "after": [0]}""",
            """{"id": "b", "image": "pictures/one.png", "before": [3], "after": [1, 1]}""",
            """{"id": "c", "before": [3, 1], "max_new_tokens": 2, "stop": false}""",
            "",
            """{"id": "d", "image": "pictures/two.png", "image_key": "x", "question": "a", "logits": "d.f32"}""",
        )
    }

    @Test
    fun answersInOrder() {
        val done = ArrayList<String>()
        run { at, of -> done.add("$at/$of") }
        val lines = lines()
        val session = lines.first().child("session")
        assertEquals("fake", session.string("runtime"))
        assertEquals("phone", session.string("model"))
        assertEquals(Benchmark.programHash(bundle), session.string("program_sha256"))
        assertEquals(listOf("a", "b", "c", "d"), lines.drop(1).dropLast(1).map { it.string("id") })
        assertEquals(mapOf("answered" to 4L, "skipped" to 0L), lines.last().child("end").values)
        assertEquals(listOf("1/4", "2/4", "3/4", "4/4"), done)
        // A question has the app's own template; ids of a line count without one.
        val image = List(4) { -1 }
        assertEquals(FakeRuntime.expected(rule, listOf(3) + image + listOf(1, 2, 0), 16), lines[1].ints("ids").toList())
        assertEquals(FakeRuntime.expected(rule, listOf(3) + image + listOf(1, 1), 16), lines[2].ints("ids").toList())
        assertEquals(FakeRuntime.expected(rule, listOf(3, 1), 2, stop = null), lines[3].ints("ids").toList())
        assertEquals(bundle.tokenizer.answer(lines[1].ints("ids")), lines[1].string("text"))
        assertTrue(lines[1].string("text").isNotEmpty())
        assertEquals("length", lines[3].string("ended"))
    }

    @Test
    fun aPictureIsReadOnceAndTimed() {
        run()
        assertEquals(listOf("one.png", "two.png"), read)
        val (a, b) = lines().drop(1)
        assertNotNull(a.values["encode_seconds"])
        assertNotNull(a.values["first_token_seconds"])
        assertTrue(b.lacks("encode_seconds") && "encode_seconds" in b && b.lacks("first_token_seconds"))
        assertEquals(8, a.int("prefill_tokens"))
        assertEquals(2, b.int("prefill_tokens"))
        assertEquals(2.0 - 0.319, a.double("margin"), 1e-6)
    }

    @Test
    fun logitsBesideTheRequests() {
        run()
        val written = ByteBuffer.wrap(File(temporary.root, "d.f32").readBytes())
        val bytes = written.order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        val logits = FloatArray(bytes.remaining()).also { bytes.get(it) }
        assertArrayEquals(runtime.logitsOf(rule(listOf(3, -1, -1, -1, -1, 1, 0, 0))), logits, 0f)
        assertFalse(File(temporary.root, "d.f32.tmp").exists())
    }

    @Test
    fun goesOnAfterAHalfLine() {
        run()
        val whole = answers.readText().lines()
        for (cut in listOf(1, 20, whole[2].length)) {
            answers.writeText(whole.take(2).joinToString("\n", postfix = "\n") + whole[2].take(cut))
            run()
            val ids = lines().filter { "id" in it }.map { it.string("id") }
            assertEquals(listOf("a", "b", "c", "d"), ids)
            assertEquals(mapOf("answered" to 3L, "skipped" to 1L), lines().last().child("end").values)
        }
    }

    @Test
    fun aHalfCharacterAtTheEndIsCutToo() {
        run()
        val first = answers.readText().lines().first().toByteArray()
        answers.writeBytes(first + '\n'.code.toByte() + "{\"id\": \"a\", \"text\": \"".toByteArray() + 0xC3.toByte())
        run()
        assertEquals(4, lines().count { "id" in it })
    }

    @Test
    fun finishedFilesAskNothing() {
        run()
        val before = lines().size
        runtime.calls.clear()
        run()
        assertTrue("nothing was computed", runtime.calls.isEmpty())
        assertEquals(before + 2, lines().size)
        assertEquals(mapOf("answered" to 0L, "skipped" to 4L), lines().last().child("end").values)
    }

    @Test
    fun answersOfAnotherProgram() {
        answers.writeText("{\"session\": {\"program_sha256\": \"00\"}}\n{\"id\": \"a\"}\n")
        val before = answers.readText()
        refused(BenchmarkProblem.INPUT, "answers.jsonl:1: these are answers of another program")
        assertEquals(before, answers.readText())
    }

    @Test
    fun answersThatAreNone() {
        answers.writeText("hello\n")
        refused(BenchmarkProblem.INPUT, "answers.jsonl:1: no answer")
        assertEquals("hello\n", answers.readText())
    }

    @Test
    fun requestsThatCannotBe() {
        val wrong = mapOf(
            """{"id": "a"}""" to "key `before` is missing",
            """{"before": [1]}""" to "key `id` is missing",
            """{"id": "a", "before": [1], "image": "no.png", "after": []}""" to "no.png is missing: expected a picture",
            """{"id": "a", "before": [320]}""" to "token id 320 lies outside of 0..319",
            """{"id": "a", "before": []}""" to "the prompt is empty",
            """{"id": "a", "before": [${List(256) { 1 }.joinToString()}]}""" to
                "the prompt has 256 tokens; the program holds 256",
            """{"id": "a", "before": [1], "max_new_tokens": 0}""" to "key `max_new_tokens` is 0",
            """{"id": "a", "before": [1], "fit": "round"}""" to "expected pad, crop or stretch",
            """{"id": "a", "before": [1]""" to "requests.jsonl:2, line 1",
        )
        for ((line, message) in wrong) {
            ask("""{"id": "first", "before": [1]}""", line)
            refused(BenchmarkProblem.INPUT, message)
        }
        ask("""{"id": "a", "before": [1]}""", """{"id": "a", "before": [1]}""")
        refused(BenchmarkProblem.INPUT, "requests.jsonl:2: the id `a` stands there twice")
        assertFalse("nothing was written", answers.exists())
        requests.delete()
        refused(BenchmarkProblem.INPUT, "requests.jsonl: the file cannot be read")
    }

    @Test
    fun endsThatHaveACode() {
        File(temporary.root, "pictures/two.png").writeText("")
        refused(BenchmarkProblem.INPUT, "two.png cannot be read as a picture: empty")
        assertEquals("what was answered before is kept", 3, lines().count { "id" in it })
        File(temporary.root, "pictures/two.png").writeText("two")
        runtime.onDecode = { throw OutOfMemoryError() }
        refused(BenchmarkProblem.MEMORY, "No memory")
        runtime.onDecode = { throw GenerationException(GenerationProblem.RUNTIME_FAILED, "it broke") }
        refused(BenchmarkProblem.RUNTIME, "it broke")
        runtime.onDecode = {}
        run()
        assertEquals(listOf("a", "b", "c", "d"), lines().filter { "id" in it }.map { it.string("id") })
        answers = File(temporary.root, "nowhere/answers.jsonl")
        refused(BenchmarkProblem.OUTPUT, "nowhere/answers.jsonl cannot be written")
        assertEquals(listOf(2, 3, 4, 5, 6), BenchmarkProblem.values().map { it.code })
    }

    @Test
    fun aHostLearnsFromTheFileWhatWentWrong() {
        assertEquals(null, Benchmark.ending(answers) { run() })
        answers.appendText("{\"id\": \"half")
        val failures = listOf(
            BundleException(BundleProblem.TOO_LARGE, "too large") to 2,
            GenerationException(GenerationProblem.CANNOT_LOAD, "no library") to 3,
            IllegalStateException("surprise") to 3,
            OutOfMemoryError() to 5,
            BenchmarkException(BenchmarkFault.BATCH_BUSY, "another runs") to 6,
        )
        for ((failure, code) in failures) {
            val told = Benchmark.ending(answers) { throw failure }!!
            assertEquals(code, told.problem.code)
            assertEquals(mapOf("error" to told.message, "code" to code.toLong()), lines().last().child("end").values)
        }
        run()
        assertEquals(4, lines().count { "id" in it })
        val nowhere = File(temporary.root, "nowhere/answers.jsonl")
        assertEquals(
            4,
            Benchmark.ending(nowhere) {
                Benchmark(bundle, runtime, decoder).run(requests, nowhere)
            }!!.problem.code,
        )
        assertFalse(nowhere.exists())
    }

    @Test
    fun stoppedAndStartedAgain() {
        val signal = StopSignal()
        refused(BenchmarkProblem.STOPPED, "Stopped after 2 answers", signal) { done, _ -> if (done == 2) signal.stop() }
        run()
        assertEquals(listOf("a", "b", "c", "d"), lines().filter { "id" in it }.map { it.string("id") })
    }

    @Test
    fun pixelsAsTheyAreAndAnotherFit() {
        val pixels = ByteBuffer.allocate(4 * 3 * 32 * 32).order(ByteOrder.LITTLE_ENDIAN)
        File(temporary.root, "raw.f32").writeBytes(pixels.array())
        File(temporary.root, "short.f32").writeBytes(ByteArray(8))
        ask(
            """{"id": "a", "image": "raw.f32", "question": "a"}""",
            """{"id": "b", "image": "pictures/one.png", "question": "a", "fit": "crop"}""",
        )
        run()
        assertEquals(listOf("one.png"), read)
        ask("""{"id": "c", "image": "short.f32", "question": "a"}""")
        refused(BenchmarkProblem.INPUT, "has 2 values")
    }

    private fun ask(vararg lines: String) = requests.writeText(lines.joinToString("\n"))

    private fun lines() = Vectors.lines(answers)

    private fun run(signal: StopSignal = StopSignal(), progress: BenchmarkProgress? = null) =
        Benchmark(bundle, runtime, decoder, {
            1L shl 30
        }, mapOf("model" to "phone")).run(requests, answers, signal, progress)

    private fun refused(
        problem: BenchmarkProblem,
        message: String,
        signal: StopSignal = StopSignal(),
        progress: BenchmarkProgress? = null,
    ) {
        try {
            run(signal, progress)
        } catch (error: BenchmarkException) {
            assertEquals(error.message, problem, error.problem)
            assertTrue("${error.message} lacks: $message", message in error.message!!)
            return
        }
        fail("was answered; expected $problem: $message")
    }
}
