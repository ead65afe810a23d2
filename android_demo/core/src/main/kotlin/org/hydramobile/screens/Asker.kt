/*
 * Answers questions in the background: checks and loads a model when it is first needed, keeps it, tells how far
 * it is.
 *
 * Lives as long as the process, so that turning the phone neither loads a model again nor loses an answer. All
 * work is on one thread, all news on the thread of the screens. Knows no Android and no library: runtimes come as
 * factories. Called by the answer screen and by the speed test's.
 */
package org.hydramobile.screens

import org.hydramobile.core.AnswerListener
import org.hydramobile.core.Bundle
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.Generator
import org.hydramobile.core.PeakMemory
import org.hydramobile.core.Picture
import org.hydramobile.core.RuntimeFactory
import org.hydramobile.core.SpeedTest
import org.hydramobile.core.StopSignal
import org.hydramobile.core.Timings
import org.hydramobile.core.VlmRuntime
import java.io.File
import java.io.IOException
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executor

/**
 * [worker]: runs one task at a time, in order. [screens]: runs tasks on the thread of the screens, which is
 * that of [conversation] too. [factories]: by the manifest's runtime.
 */
class Asker(
    private val store: ModelStore,
    private val factories: Map<String, RuntimeFactory>,
    private val worker: Executor,
    private val screens: Executor,
    private val conversation: Conversation,
    private val device: () -> DeviceLimits,
    private val memory: PeakMemory = PeakMemory.RESIDENT,
) {
    /** The last state; for the thread of the screens. */
    var state = AskState()
        private set

    /** Who is told; for the thread of the screens. A new one is told at once. */
    var listener: AskListener? = null
        set(value) {
            field = value
            value?.onState(state)
        }

    @Volatile
    private var signal = StopSignal()

    // For the worker's thread only.
    private var loaded: Loaded? = null

    private class Loaded(val folder: File, val threads: Int, val bundle: Bundle, val runtime: VlmRuntime) {
        val generator = Generator(bundle, runtime)
    }

    /** Ask the model in [folder] a question; without effect while something is being done. */
    fun ask(folder: File, settings: AskSettings, question: String, picture: ChosenPicture?) {
        begin(AskState(Work.LOADING, question = question)) { stop ->
            val model = ready(folder, settings.threads, stop)
            show(AskState(Work.ANSWERING, question = question))
            val prompt = model.bundle.template.prompt(question, picture != null)
            val told = StringBuilder()
            val listener = object : AnswerListener {
                override fun onText(text: String, timings: Timings) {
                    told.append(text)
                    val facts = Shown.facts(timings, null)
                    show(AskState(Work.ANSWERING, question = question, answer = told.toString(), facts = facts))
                }
            }
            val pixels = picture?.let { Picture(it.key) { pixels(model.bundle, it) } }
            val answer = model.generator.answer(prompt, pixels, settings.options, stop, listener)
            val facts = listOfNotNull(Shown.facts(answer.timings, memory.bytes()), Shown.ended(answer.end))
            val turn = Turn(question, answer.text, facts.joinToString(" · "))
            screens.execute { conversation.add(turn) }
            AskState()
        }
    }

    /** Time the model in [folder]; the result is in the state. Without effect while something is being done. */
    fun measure(folder: File, settings: AskSettings) {
        begin(AskState(Work.LOADING)) { stop ->
            val model = ready(folder, settings.threads, stop)
            show(AskState(Work.MEASURING))
            val test = SpeedTest(model.bundle, model.runtime)
            val speed = test.measure(REPEATS, stop) { done ->
                show(AskState(Work.MEASURING, share = done.toDouble() / REPEATS))
            }
            AskState(speed = speed)
        }
    }

    /** End what is being done, between two of its steps. */
    fun stop() = signal.stop()

    /** Give the model's memory back, after what is being done. */
    fun unload() = worker.execute { close() }

    /** [unload], and wait for it: for who loads a model of its own. */
    fun unloadNow() {
        val done = CountDownLatch(1)
        stop()
        worker.execute {
            close()
            done.countDown()
        }
        done.await()
    }

    private fun begin(first: AskState, work: (StopSignal) -> AskState) {
        if (state.isBusy) return
        val stop = StopSignal().also { signal = it }
        state = first
        listener?.onState(first)
        worker.execute {
            val last = try {
                work(stop)
            } catch (error: Throwable) {
                AskState(message = messageOf(error))
            }
            show(last)
        }
    }

    private fun show(state: AskState) = screens.execute {
        this.state = state
        listener?.onState(state)
    }

    /** The model, checked and loaded. */
    private fun ready(folder: File, threads: Int, stop: StopSignal): Loaded {
        loaded?.let {
            // A folder may have been replaced under its name; the store remembers what was checked.
            if (it.folder == folder && it.threads == threads && folder.isDirectory) return it
        }
        close()
        val bundle = store.open(folder, device()) { done, total ->
            show(AskState(Work.CHECKING, share = done.toDouble() / maxOf(1, total)))
            !stop.isSet
        }
        show(AskState(Work.LOADING))
        val factory = factories[bundle.runtime] ?: throw BundleException(
            BundleProblem.OTHER_RUNTIME,
            "The bundle is for the runtime ${bundle.runtime}, and this app has ${factories.keys.joinToString()}. " +
                "Export it again with `--runtime ${factories.keys.first()}`.",
        )
        val runtime = factory.load(bundle, threads)
        return try {
            Loaded(folder, threads, bundle, runtime).also { loaded = it }
        } catch (error: Throwable) {
            runtime.close()
            throw error
        }
    }

    private fun close() {
        loaded?.runtime?.close()
        loaded = null
    }

    private fun pixels(bundle: Bundle, picture: ChosenPicture): FloatArray = try {
        val decoded = picture.decode()
        bundle.preprocessor.preprocess(decoded.argb, decoded.width, decoded.height)
    } catch (error: IOException) {
        val what = "The picture cannot be read: ${error.message}. Choose another one."
        throw GenerationException(GenerationProblem.UNUSABLE_PICTURE, what, error)
    }

    private fun messageOf(error: Throwable): String? {
        // What a step that failed has left in the library is not known.
        if (error !is BundleException && (error as? GenerationException)?.problem !in HARMLESS) close()
        return when (error) {
            is BundleException -> if (error.problem == BundleProblem.CANCELLED) null else error.message
            is GenerationException -> error.message
            is OutOfMemoryError -> "No memory is left. Close other apps, or use a smaller model."
            else -> "The app failed: $error. Report it."
        }
    }

    private companion object {
        const val REPEATS = 5

        /** Problems of a question; the model stays loaded. */
        val HARMLESS = setOf(
            GenerationProblem.EMPTY_PROMPT,
            GenerationProblem.PROMPT_TOO_LONG,
            GenerationProblem.UNUSABLE_PICTURE,
        )
    }
}
