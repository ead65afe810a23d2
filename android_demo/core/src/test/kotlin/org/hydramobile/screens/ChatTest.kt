package org.hydramobile.screens

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

/** Asking, stopping, failing, and what is kept of it. */
class ChatTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var made: MadeBundle
    private lateinit var host: ModelHost
    private lateinit var chat: Chat
    private lateinit var file: File
    private val worker = ByHand()
    private val states = ArrayList<ChatState>()
    private val runtimes = ArrayList<FakeRuntime>()
    private var onLoad: () -> Unit = {}
    private var onDecode: (Int) -> Unit = {}
    private var device = DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a"), 30)
    private var decode: (String) -> DecodedPicture = { DecodedPicture(IntArray(8) { -1 }, 4, 2) }

    @Before
    fun make() {
        val root = temporary.newFolder("models")
        made = MadeBundle(File(root, "first").also { it.mkdir() })
        file = File(temporary.root, "conversation.jsonl")
        val factory = RuntimeFactory { bundle, _ ->
            onLoad()
            FakeRuntime(bundle.manifest, FakeRuntime.mixed(11)).also {
                it.onDecode = { call -> onDecode(call) }
                runtimes.add(it)
            }
        }
        host = ModelHost(ModelStore(root, setOf("onnx")), mapOf("onnx" to factory), worker) { device }
        chat = chat()
        chat.told.listen { states.add(it) }
    }

    private fun chat() = Chat(file, host, AT_ONCE, AT_ONCE, { decode(it) }, { 7L }, PeakMemory { 200L shl 20 })
        .also { it.read() }

    private fun choice() = ModelChoice(made.folder, AskedModel("first", "int4", "onnx"))

    private fun ask(question: String = "ab", picture: String? = "one", chat: Chat = this.chat): Turn {
        assertTrue(chat.ask(choice(), AskSettings(), question, picture))
        worker.work()
        return chat.told.now.turns.last()
    }

    private fun phases() = states.mapNotNull { it.live?.phase }.distinct()

    @Test
    fun everythingOfAnAnswerIsKeptAndRead() {
        val turn = ask()
        assertEquals(Phase.values().toList(), phases())
        assertEquals(TurnEnd.ANSWERED, turn.end)
        assertTrue(turn.answer.isNotEmpty())
        val read = chat().told.now.turns.single()
        val all = { t: Turn ->
            listOf(t.id, t.question, t.picture, t.model?.name, t.model?.runtime, t.askedAt, t.answer, t.end)
        }
        assertEquals(all(turn), all(read))
        assertEquals(turn.facts.firstSeconds!!, read.facts.firstSeconds!!, 1e-9)
        assertEquals(200L shl 20, read.facts.memoryBytes)
    }

    @Test
    fun theReadingOfAPictureInTilesIsCounted() {
        made.part("image")["fit"] = "tiles"
        made.part("image")["tiles"] =
            mapOf("rows" to 1, "columns" to 2, "overview" to "image", "texts" to listOf("", "a", "b"))
        made.write()
        ask()
        fun shares() = states.mapNotNull { it.live }.filter { it.phase == Phase.READING }.map { it.share }.distinct()
        assertEquals(listOf(0.0, 0.25, 0.5, 0.75), shares())
        states.clear()
        ask("ba")
        assertEquals("the squares are in the cache", listOf(0.0), shares())
    }

    @Test
    fun aQuestionIsKeptFromTheMomentItIsAsked() {
        assertTrue(chat.ask(choice(), AskSettings(), "Why?", null))
        // The process ends here.
        val turn = chat().told.now.turns.single()
        assertEquals("Why?", turn.question)
        assertEquals(TurnEnd.INTERRUPTED, turn.end)
    }

    @Test
    fun aFailureKeepsQuestionAndWordsAndIsAskedAgainInItsPlace() {
        var calls = 0
        onDecode = { if (++calls > 4) throw GenerationException(GenerationProblem.RUNTIME_FAILED, "It broke.") }
        val turn = ask(picture = null)
        assertEquals(TurnEnd.FAILED, turn.end)
        assertEquals("RUNTIME_FAILED", turn.problem!!.code)
        assertEquals(listOf("It broke."), turn.problem.arguments)
        assertTrue(turn.answer, turn.answer.isNotEmpty())
        assertEquals("what broke is not used again", "close", runtimes.single().calls.last())
        onDecode = {}
        assertTrue(chat.again(chat().told.now.turns.single(), choice(), AskSettings()))
        worker.work()
        val again = chat.told.now.turns.single()
        assertEquals(TurnEnd.ANSWERED, again.end)
        assertEquals("ab", again.question)
        assertEquals(2, runtimes.size)
    }

    @Test
    fun whateverIsThrownBecomesAProblem() {
        val errors = listOf(UnsatisfiedLinkError("no library"), StackOverflowError(), OutOfMemoryError())
        for (error in errors + IllegalStateException("odd")) {
            onLoad = { throw error }
            val turn = ask()
            assertEquals("$error", TurnEnd.FAILED, turn.end)
            assertFalse(chat.told.now.isBusy)
        }
        assertEquals("FAILED", chat.told.now.turns.first().problem!!.code)
    }

    @Test
    fun stopIsSaidAtOnceAndEndsTheAnswer() {
        onDecode = {
            if (states.last().live?.text?.isNotEmpty() == true) chat.stop()
            if (states.last().live?.isStopping == false) assertNull(states.last().problem)
        }
        val turn = ask()
        assertTrue(states.any { it.live?.isStopping == true })
        assertEquals(TurnEnd.STOPPED, turn.end)
    }

    @Test
    fun stoppedBeforeItsTurnCame() {
        chat.ask(choice(), AskSettings(), "Why?", null)
        chat.stop()
        assertTrue(chat.told.now.live!!.isStopping)
        worker.work()
        assertEquals(TurnEnd.STOPPED, chat.told.now.turns.single().end)
        assertEquals("nothing was loaded", 0, runtimes.size)
    }

    @Test
    fun clearingDuringAnAnswerLeavesNothing() {
        chat.ask(choice(), AskSettings(), "Why?", null)
        chat.clear()
        assertFalse(chat.told.now.isBusy)
        worker.work()
        assertEquals(0, chat.told.now.turns.size)
        assertFalse(file.exists())
    }

    @Test
    fun oneQuestionAtATime() {
        assertTrue(chat.ask(choice(), AskSettings(), "One?", null))
        assertFalse(chat.ask(choice(), AskSettings(), "Two?", null))
        assertEquals(1, chat.told.now.turns.size)
    }

    @Test
    fun loadedOnceUntilItsFilesAreOthers() {
        ask()
        ask()
        assertEquals(1, runtimes.size)
        File(made.folder, "embed_tokens.onnx").setLastModified(1_000_000_000_000)
        ask()
        assertEquals(2, runtimes.size)
        assertEquals("close", runtimes[0].calls.last())
        host.unload()
        worker.work()
        ask()
        assertEquals(3, runtimes.size)
    }

    @Test
    fun aPictureThatCannotBeReadLeavesTheModelLoaded() {
        decode = { throw IOException("gone") }
        assertEquals("UNUSABLE_PICTURE", ask().problem!!.code)
        decode = { DecodedPicture(IntArray(8) { -1 }, 4, 2) }
        assertEquals(TurnEnd.ANSWERED, ask().end)
        assertEquals(1, runtimes.size)
    }

    @Test
    fun aFullDiskIsTold() {
        file.mkdirs()
        ask()
        assertEquals("NOT_KEPT", chat.told.now.problem!!.code)
        assertEquals("it is shown all the same", TurnEnd.ANSWERED, chat.told.now.turns.single().end)
    }

    @Test
    fun recordsOfEarlierVersionsAreRead() {
        file.writeText("""{"question": "Q", "answer": "A", "facts": "9 tokens/s"}""" + "\n{\"question\": \"cut")
        val turns = chat().told.now.turns
        assertEquals("A", turns.single().answer)
        assertEquals("9 tokens/s", turns.single().told)
        assertEquals(TurnEnd.ANSWERED, turns.single().end)
        assertNull(turns.single().model)
        // The line that was cut takes nothing of the next.
        val chat = chat()
        ask("New?", chat = chat)
        assertEquals(listOf("Q", "New?"), chat().told.now.turns.map { it.question })
    }

    @Test
    fun deletedTurnsAreGone() {
        ask("One?")
        ask("Two?")
        chat.delete(chat.told.now.turns.first())
        assertEquals(listOf("Two?"), chat().told.now.turns.map { it.question })
    }
}
