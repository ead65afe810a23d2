/*
 * What was asked and answered: the records, the answer on its way, and how to start and end one.
 *
 * Lives as long as the process, so that turning the phone neither loads a model again nor loses an answer. Called on
 * the thread of the screens; knows no Android.
 */
package org.hydramobile.screens

import org.hydramobile.core.AnswerListener
import org.hydramobile.core.DecodedPicture
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.PeakMemory
import org.hydramobile.core.Picture
import org.hydramobile.core.StopSignal
import org.hydramobile.core.Timings
import java.io.File
import java.io.IOException
import java.util.UUID
import java.util.concurrent.Executor

/**
 * The answer on its way: of which turn, how far, its text so far.
 *
 * [share]: of the [phase], 0 where it is not known. [rate]: tokens a second.
 */
class Live(
    val turn: String,
    val phase: Phase,
    val share: Double = 0.0,
    val text: String = "",
    val rate: Double? = null,
    val isStopping: Boolean = false,
    val hasPicture: Boolean = false,
)

/** [turns]: oldest first. [live]: null where nothing is asked. [isRead]: the file was read. [problem]: of keeping it. */
class ChatState(
    val turns: List<Turn> = emptyList(),
    val live: Live? = null,
    val isRead: Boolean = false,
    val problem: Problem? = null,
) {
    val isBusy: Boolean get() = live != null
}

/** A model as the screens name it. */
class ModelChoice(val folder: File, val asked: AskedModel)

/** Gives a picture's pixels by its id; IOException: it cannot be read. */
fun interface PictureReader {
    fun read(id: String): DecodedPicture
}

/**
 * [files]: runs the tasks that write [file], one at a time. [clock]: milliseconds since 1970. [onForgotten]: told when
 * turns have gone, whose pictures may be needed no more.
 */
class Chat(
    private val file: File,
    private val host: ModelHost,
    private val files: Executor,
    private val screens: Executor,
    private val pictures: PictureReader,
    private val clock: () -> Long,
    private val memory: PeakMemory = PeakMemory.RESIDENT,
    private val onForgotten: () -> Unit = {},
) {
    private val kept = LineFile(file, MOST_TURNS)
    private var signal = StopSignal()

    /** What is asked and answered. */
    val told = Told(ChatState(), screens)

    /** Read what was kept; a turn that the end of the process cut off is one that was interrupted. */
    fun read() = files.execute {
        val found = kept.read({ it.id }) { json, index -> Turn.of(json, "$EARLIER$index") }
        val turns = found.map { if (it.end == TurnEnd.RUNNING) it.ended(TurnEnd.INTERRUPTED, it.answer) else it }
        screens.execute {
            val asked = told.now.turns
            told.set(ChatState(turns + asked, told.now.live, true, told.now.problem))
            onForgotten()
        }
    }

    /** Ask [model] a question; false: something is being answered. */
    fun ask(model: ModelChoice, settings: AskSettings, question: String, picture: String?): Boolean {
        if (told.now.isBusy) return false
        val id = UUID.randomUUID().toString()
        val turn = Turn(id, question, picture, model.asked, clock())
        val live = Live(id, Phase.WAITING, hasPicture = picture != null)
        told.set(with(told.now.turns + turn, live))
        keep(turn)
        val stop = StopSignal().also { signal = it }
        host.run(stop, model.folder) {
            val work = Answer(turn, model, settings, stop)
            val ended = work.end()
            screens.execute { end(ended) }
        }
        return true
    }

    /** End the answer between two of its steps; it is said at once. */
    fun stop() {
        signal.stop()
        val live = told.now.live ?: return
        told.drop()
        told.set(with(told.now.turns, live.stopping()))
    }

    /** Ask the question of [turn] again, of [model]; its record goes. */
    fun again(turn: Turn, model: ModelChoice, settings: AskSettings): Boolean {
        if (told.now.isBusy) return false
        // An answer stays to be compared with; a question without one is asked in its own place.
        if (turn.end == TurnEnd.FAILED || turn.end == TurnEnd.INTERRUPTED) delete(turn)
        return ask(model, settings, turn.question, turn.picture)
    }

    fun delete(turn: Turn) = leave(told.now.turns.filter { it.id != turn.id })

    /** Forget everything, an answer on its way too. */
    fun clear() {
        signal.stop()
        told.drop()
        leave(emptyList())
    }

    private fun leave(turns: List<Turn>) {
        val live = told.now.live?.let { live -> live.takeIf { turns.any { turn -> turn.id == live.turn } } }
        told.set(ChatState(turns, live, told.now.isRead))
        files.execute { guarded { kept.write(turns.map { it.line() }) } }
        onForgotten()
    }

    private fun end(turn: Turn) {
        val turns = told.now.turns
        // It may have been cleared meanwhile.
        if (turns.none { it.id == turn.id }) return
        told.drop()
        told.set(with(turns.map { if (it.id == turn.id) turn else it }, null))
        keep(turn)
    }

    private fun keep(turn: Turn) = files.execute { guarded { kept.add(turn.line()) } }

    private fun guarded(action: () -> Unit) = try {
        action()
    } catch (error: IOException) {
        val problem = Problem(Problem.NOT_KEPT, error.message.orEmpty())
        screens.execute { told.set(ChatState(told.now.turns, told.now.live, told.now.isRead, problem)) }
    }

    private fun with(turns: List<Turn>, live: Live?) = ChatState(turns, live, told.now.isRead, told.now.problem)

    private fun Live.stopping() = Live(turn, phase, share, text, rate, true, hasPicture)

    /** One answer, on the model's thread. */
    private inner class Answer(
        private val turn: Turn,
        private val model: ModelChoice,
        private val settings: AskSettings,
        private val stop: StopSignal,
    ) : AnswerListener {
        private val text = StringBuilder()

        fun end(): Turn = try {
            if (stop.isSet) turn.ended(TurnEnd.STOPPED, "") else answered()
        } catch (error: Throwable) {
            host.failed(error)
            val problem = Problem.of(error)
            turn.ended(
                if (problem ==
                    null
                ) {
                    TurnEnd.STOPPED
                } else {
                    TurnEnd.FAILED
                },
                text.toString().trim(), problem = problem,
            )
        }

        private fun answered(): Turn {
            val loaded = host.ready(model.folder, settings.threads, stop) { phase, share -> show(phase, share) }
            show(if (turn.picture == null) Phase.ANSWERING else Phase.READING)
            val prompt = loaded.bundle.template.prompt(turn.question, turn.picture != null)
            val picture = turn.picture?.let { id -> Picture(id) { pixels(loaded, id) } }
            val answer = loaded.generator.answer(prompt, picture, settings.options, stop, this)
            return turn.ended(Turn.endOf(answer.end), answer.text, Facts.of(answer.timings, memory.bytes()))
        }

        override fun onSquare(done: Int, count: Int) {
            // A single one is a single step; of several, the decoder's reading of them all is one more.
            if (count > 1) show(Phase.READING, done / (count + 1.0))
        }

        override fun onText(text: String, timings: Timings) {
            this.text.append(text)
            show(Phase.ANSWERING, rate = timings.decodeTokensPerSecond)
        }

        private fun show(phase: Phase, share: Double = 0.0, rate: Double? = null) {
            val words = text.toString()
            val live = Live(turn.id, phase, share, words, rate, stop.isSet, turn.picture != null)
            posted = live
            // One task at a time: of what comes faster than screens can show it, the newest is shown.
            if (!isPosted) {
                isPosted = true
                screens.execute {
                    isPosted = false
                    if (told.now.live?.turn == turn.id) told.set(with(told.now.turns, posted))
                }
            }
        }

        @Volatile
        private var posted: Live = Live(turn.id, Phase.WAITING)

        @Volatile
        private var isPosted = false

        private fun pixels(loaded: Loaded, id: String): FloatArray = try {
            val decoded = pictures.read(id)
            loaded.bundle.preprocessor.preprocess(decoded.argb, decoded.width, decoded.height)
        } catch (error: IOException) {
            val what = error.message.orEmpty()
            throw GenerationException(GenerationProblem.UNUSABLE_PICTURE, what, error)
        }
    }

    companion object {
        /** Of the conversation; older turns are forgotten at the next start. */
        const val MOST_TURNS = 1000

        /** Begins the ids of records that earlier versions wrote without one. */
        private const val EARLIER = "line-"
    }
}
