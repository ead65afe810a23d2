/*
 * The one model in memory: checked and loaded when it is first needed, kept, given back when memory is wanted.
 *
 * All work with it is on one thread, in order. Knows no Android and no library: runtimes come as factories.
 */
package org.hydramobile.screens

import org.hydramobile.core.Bundle
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.Generator
import org.hydramobile.core.RuntimeFactory
import org.hydramobile.core.StopSignal
import org.hydramobile.core.VlmRuntime
import java.io.File
import java.util.concurrent.CopyOnWriteArraySet
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executor

/** What is done before the model computes. */
enum class Phase { WAITING, CHECKING, LOADING, READING, ANSWERING }

/** Told how far it is: the share of a check that is done, 0 to 1. */
fun interface PhaseListener {
    fun onPhase(phase: Phase, share: Double)
}

/** A model in memory. */
class Loaded(val folder: File, val threads: Int, val state: String, val bundle: Bundle, val runtime: VlmRuntime) {
    val generator = Generator(bundle, runtime)
}

/** [worker]: one thread. [factories]: by the manifest's runtime. */
class ModelHost(
    val store: ModelStore,
    val factories: Map<String, RuntimeFactory>,
    private val worker: Executor,
    private val device: () -> DeviceLimits,
) {
    // Set by the worker's thread only.
    @Volatile
    private var loaded: Loaded? = null

    @Volatile
    private var running: Job? = null
    private val jobs = CopyOnWriteArraySet<Job>()

    /** Work that runs or waits, and the folder of its model. */
    private class Job(val signal: StopSignal, val folder: File)

    /**
     * Run [work] with the model in [folder] when the work before it has ended; [signal] ends it. Its errors are its own
     * affair.
     */
    fun run(signal: StopSignal, folder: File, work: () -> Unit) {
        val job = Job(signal, folder).also { jobs.add(it) }
        worker.execute {
            running = job
            try {
                work()
            } finally {
                running = null
                jobs.remove(job)
            }
        }
    }

    /**
     * The model in [folder], checked and loaded; within [run].
     *
     * @throws BundleException it cannot be used; CANCELLED: [signal] was set.
     */
    fun ready(folder: File, threads: Int, signal: StopSignal, listener: PhaseListener): Loaded {
        val state = store.stateOf(folder)
        // A folder may have been replaced under its name.
        loaded?.let { if (it.folder == folder && it.threads == threads && it.state == state) return it }
        close()
        var told = -1
        val bundle = store.open(folder, device()) { done, total ->
            val percent = (100 * done / maxOf(1, total)).toInt()
            if (percent != told) listener.onPhase(Phase.CHECKING, percent / 100.0)
            told = percent
            !signal.isSet
        }
        listener.onPhase(Phase.LOADING, 0.0)
        val factory = factories[bundle.runtime] ?: throw BundleException(
            BundleProblem.OTHER_RUNTIME,
            "The bundle is for the runtime ${bundle.runtime}, and this app has ${factories.keys.joinToString()}.",
            listOf(bundle.runtime, factories.keys.joinToString()),
        )
        val runtime = factory.load(bundle, threads)
        return try {
            Loaded(folder, threads, state, bundle, runtime).also { loaded = it }
        } catch (error: Throwable) {
            runtime.close()
            throw error
        }
    }

    /** Take note that [error] came from the model; what a step that failed has left in the library is not known. */
    fun failed(error: Throwable) {
        if (error !is BundleException && (error as? GenerationException)?.problem !in HARMLESS) close()
    }

    /** Give the model's memory back, after what is being done. */
    fun unload() = worker.execute { close() }

    /**
     * End all work with the model in [folder], give its memory back, and wait for both; work with others goes on. Not
     * on the thread of the screens.
     */
    fun letGo(folder: File) {
        jobs.filter { it.folder == folder }.forEach { it.signal.stop() }
        // Work that waits has not begun, and ends before it does.
        if (running?.folder != folder && loaded?.folder != folder) return
        val done = CountDownLatch(1)
        worker.execute {
            if (loaded?.folder == folder) close()
            done.countDown()
        }
        done.await()
    }

    /** Run [work], which loads the model in [folder] itself, while no other is in memory; all other work ends. */
    fun alone(signal: StopSignal, folder: File, work: () -> Unit) {
        jobs.forEach { it.signal.stop() }
        run(signal, folder) {
            close()
            work()
        }
    }

    private fun close() {
        val closed = loaded ?: return
        loaded = null
        closed.runtime.close()
    }

    private companion object {
        /** Problems of a question; the model stays loaded. */
        val HARMLESS = setOf(
            GenerationProblem.EMPTY_PROMPT,
            GenerationProblem.PROMPT_TOO_LONG,
            GenerationProblem.UNUSABLE_PICTURE,
        )
    }
}
