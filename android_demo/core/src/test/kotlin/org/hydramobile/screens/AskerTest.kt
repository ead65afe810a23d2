package org.hydramobile.screens

import org.hydramobile.core.AnswerEnd
import org.hydramobile.core.DecodedPicture
import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.FakeRuntime
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.MadeBundle
import org.hydramobile.core.PeakMemory
import org.hydramobile.core.RuntimeFactory
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException
import java.util.ArrayDeque
import java.util.concurrent.Executor

/** What the screens are told while a model is checked, loaded, asked, stopped and broken. */
class AskerTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var made: MadeBundle
    private lateinit var asker: Asker
    private val tasks = ArrayDeque<Runnable>()
    private val states = ArrayList<AskState>()
    private lateinit var conversation: Conversation
    private val turns get() = conversation.turns
    private val runtimes = ArrayList<FakeRuntime>()
    private val threads = ArrayList<Int>()
    private var onLoad: () -> Unit = {}
    private var onDecode: (Int) -> Unit = {}
    private var device = DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a"), 30)
    private val picture = ChosenPicture("one") { DecodedPicture(IntArray(8) { -1 }, 4, 2) }

    @Before
    fun make() {
        val root = temporary.newFolder("models")
        made = MadeBundle(File(root, "first").also { it.mkdir() })
        val factory = RuntimeFactory { bundle, count ->
            onLoad()
            threads.add(count)
            FakeRuntime(bundle.manifest, FakeRuntime.mixed(11)).also {
                it.onDecode = { call -> onDecode(call) }
                runtimes.add(it)
            }
        }
        val store = ModelStore(root, setOf("onnx"))
        conversation = Conversation(File(temporary.root, "conversation.jsonl"))
        asker = Asker(
            store, mapOf("onnx" to factory), Executor { tasks.add(it) }, Executor { it.run() }, conversation,
            { device }, PeakMemory { 200L shl 20 },
        )
        asker.listener = AskListener { states.add(it) }
        states.clear()
    }

    private fun work() {
        while (tasks.isNotEmpty()) tasks.poll()!!.run()
    }

    private fun ask(
        question: String = "ab",
        picture: ChosenPicture? = this.picture,
        settings: AskSettings = AskSettings(),
    ) {
        asker.ask(made.folder, settings, question, picture)
        work()
    }

    private fun steps() = states.map { it.work }.fold(ArrayList<Work>()) { all, one ->
        if (all.lastOrNull() != one) all.add(one)
        all
    }

    @Test
    fun anAnswerFromTheFirstQuestionOn() {
        ask()
        assertEquals(listOf(Work.LOADING, Work.CHECKING, Work.LOADING, Work.ANSWERING, Work.NOTHING), steps())
        val shares = states.filter { it.work == Work.CHECKING }.map { it.share }
        assertEquals(shares.sorted(), shares)
        assertEquals(1.0, shares.last(), 0.0)
        val turn = turns.single()
        assertEquals("ab", turn.question)
        assertTrue(turn.answer, turn.answer.isNotEmpty())
        // What was streamed is what is kept.
        assertEquals(turn.answer, states.last { it.work == Work.ANSWERING }.answer.trim())
        assertTrue(turn.facts, turn.facts.contains("first token"))
        assertTrue(turn.facts, turn.facts.endsWith("memory 200 MiB"))
        assertNull(asker.state.message)
    }

    @Test
    fun theSecondQuestionNeitherChecksNorLoadsNorEncodes() {
        ask()
        states.clear()
        ask("b")
        assertEquals(listOf(Work.LOADING, Work.ANSWERING, Work.NOTHING), steps())
        assertEquals(1, runtimes.size)
        assertEquals(1, runtimes.single().calls.count { it == "encode" })
        assertEquals(2, turns.size)
    }

    @Test
    fun otherThreadsLoadAgainWithoutChecking() {
        ask()
        states.clear()
        ask(settings = AskSettings(threads = 3))
        assertEquals(listOf(0, 3), threads)
        assertEquals("close", runtimes.first().calls.last())
        assertFalse(Work.CHECKING in steps())
    }

    @Test
    fun aFileThatChangesIsCheckedAgain() {
        ask()
        asker.unload()
        work()
        made.file("decoder_model_merged.onnx").run {
            writeBytes(readBytes().also { it[0] = 9 })
            setLastModified(lastModified() + 2000)
        }
        ask()
        assertTrue(asker.state.message, asker.state.message!!.contains("decoder_model_merged.onnx has sha256"))
        assertEquals("nothing is loaded before the check", 1, runtimes.size)
    }

    @Test
    fun aQuestionWhileOneIsAnsweredIsNotTaken() {
        asker.ask(made.folder, AskSettings(), "ab", picture)
        asker.ask(made.folder, AskSettings(), "b", picture)
        work()
        assertEquals(listOf("ab"), turns.map { it.question })
    }

    @Test
    fun stoppedInTheMiddleAndAskedAgain() {
        ask()
        val whole = turns.single().answer
        onDecode = { asker.stop() }
        ask()
        assertTrue(turns[1].facts, turns[1].facts.endsWith("stopped"))
        assertTrue(turns[1].answer.length < whole.length)
        onDecode = {}
        ask()
        assertEquals("the stop does not outlive its answer", whole, turns[2].answer)
    }

    @Test
    fun stoppedWhileItIsChecked() {
        asker.ask(made.folder, AskSettings(), "ab", picture)
        asker.stop()
        work()
        assertNull(asker.state.message)
        assertFalse(asker.state.isBusy)
        assertEquals(0, runtimes.size)
        ask()
        assertEquals(1, turns.size)
    }

    @Test
    fun aRuntimeThatFailsIsLoadedAnew() {
        onDecode = { error("no such kernel") }
        ask()
        assertTrue(asker.state.message, asker.state.message!!.contains("no such kernel"))
        assertEquals("close", runtimes.single().calls.last())
        onDecode = {}
        ask()
        assertEquals(2, runtimes.size)
        assertNull(asker.state.message)
    }

    @Test
    fun aPictureThatCannotBeReadLeavesTheModelLoaded() {
        ask(picture = ChosenPicture("broken") { throw IOException("cut short") })
        assertTrue(asker.state.message, asker.state.message!!.contains("cut short. Choose another one."))
        ask()
        assertEquals(1, runtimes.size)
    }

    @Test
    fun everyFailureIsAMessage() {
        val failures = mapOf<Throwable, String>(
            GenerationException(GenerationProblem.CANNOT_LOAD, "The library is missing.") to "The library is missing.",
            OutOfMemoryError() to "No memory is left. Close other apps, or use a smaller model.",
            UnsatisfiedLinkError("libx.so") to "The app failed: java.lang.UnsatisfiedLinkError: libx.so. Report it.",
        )
        for ((failure, message) in failures) {
            onLoad = { throw failure }
            ask()
            assertEquals(message, asker.state.message)
            assertFalse(asker.state.isBusy)
        }
        assertEquals(0, turns.size)
    }

    @Test
    fun aDeviceThatIsTooSmallIsToldBeforeAnythingIsLoaded() {
        device = DeviceLimits(1L shl 20, 64L shl 20, listOf("arm64-v8a"), 30)
        ask()
        assertTrue(asker.state.message, asker.state.message!!.contains("an app can count on"))
        assertEquals(0, runtimes.size)
    }

    @Test
    fun aBundleOfARuntimeThatTheAppLacks() {
        made.manifest["runtime"] = "executorch"
        made.write()
        ask()
        assertTrue(asker.state.message, asker.state.message!!.contains("executorch"))
        assertEquals(0, runtimes.size)
    }

    @Test
    fun aNewScreenSeesWhatIsGoingOn() {
        asker.ask(made.folder, AskSettings(), "ab", picture)
        asker.listener = null
        val seen = ArrayList<AskState>()
        asker.listener = AskListener { seen.add(it) }
        assertEquals("ab", seen.single().question)
        assertEquals(Work.LOADING, seen.single().work)
        // Nobody looks while it is answered; the answer is there all the same.
        asker.listener = null
        work()
        assertEquals("ab", turns.single().question)
        assertFalse(asker.state.isBusy)
    }

    @Test
    fun aSpeedTest() {
        asker.measure(made.folder, AskSettings())
        work()
        assertEquals(
            listOf(Work.LOADING, Work.CHECKING, Work.LOADING, Work.MEASURING, Work.NOTHING), steps(),
        )
        assertEquals(5, asker.state.speed!!.decodeRate.size)
        assertEquals(1.0, states.last { it.work == Work.MEASURING }.share, 0.0)
        assertEquals("a warm-up before them", 6, runtimes.single().calls.count { it == "encode" })
        val lines = Shown.speed(asker.state.speed!!).lines()
        assertEquals(4, lines.size)
        val line = Regex("Picture \\(s\\): [0-9.]+ \\([0-9.]+ to [0-9.]+, 5 repeats\\)")
        assertTrue(lines.first(), lines.first().matches(line))
    }

    @Test
    fun whyAnAnswerEndedIsSaidWhereItIsNotPlain() {
        assertNull(Shown.ended(AnswerEnd.STOP_TOKEN))
        ask(settings = AskSettings(mostTokens = 1))
        assertTrue(turns.single().facts.endsWith("cut off at the length that is set"))
    }
}
