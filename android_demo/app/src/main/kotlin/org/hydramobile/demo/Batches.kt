/*
 * The batch of questions that a host has started: of the process, not of a screen, so that a screen that is made anew
 * neither starts it again nor ends it.
 */
package org.hydramobile.demo

import org.hydramobile.core.Benchmark
import org.hydramobile.core.BenchmarkException
import org.hydramobile.core.BenchmarkFault
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.StopSignal
import org.hydramobile.screens.Problem
import org.hydramobile.screens.Told
import java.io.File

/** What a host asks for: files of requests and answers, a bundle, threads. */
internal data class Batch(val requests: File, val answers: File, val bundle: File, val threads: Int)

/** [done] of [all] questions are answered; [problem]: why it ended early, null where it did not. */
internal class BatchState(
    val batch: Batch,
    val done: Int = 0,
    val all: Int = 0,
    val isOver: Boolean = false,
    val problem: Problem? = null,
)

/** One at a time. For the thread of the screens. */
internal class Batches(private val app: DemoApplication) {
    private val none = BatchState(Batch(File(""), File(""), File(""), 0), isOver = true)
    val told = Told(none, app.screens)

    /** Whether no batch was started in this process. */
    val isNew: Boolean get() = told.now === none
    private var signal = StopSignal()

    fun start(batch: Batch) {
        val now = told.now
        if (!now.isOver) {
            // The same call again is a host that has lost its connection; another would wait for an end in vain.
            if (now.batch.answers != batch.answers) app.hands.execute { refuse(batch) }
            return
        }
        val stop = StopSignal().also { signal = it }
        told.set(BatchState(batch))
        app.host.alone(stop, batch.bundle) {
            val failure = Benchmark.ending(batch.answers) { run(batch, stop) }
            failure?.let { app.log.add(it) }
            told.now.let { told.post(BatchState(batch, it.done, it.all, isOver = true, failure?.let(::problemOf))) }
        }
    }

    /** End it; the same call goes on where it did. */
    fun stop() = signal.stop()

    /** A check of the bundle that was stopped has no words of its own. */
    private fun problemOf(failure: BenchmarkException) =
        Problem.of(failure) ?: Problem(BenchmarkFault.BATCH_STOPPED.name, "${told.now.done}")

    private fun refuse(batch: Batch) {
        Benchmark.ending(batch.answers) {
            val what = "Another batch is running. Wait for its end, and start this one again."
            throw BenchmarkException(BenchmarkFault.BATCH_BUSY, what)
        }
    }

    private fun run(batch: Batch, stop: StopSignal) {
        val bundle = app.store.open(batch.bundle, app.phone.limits()) { _, _ -> !stop.isSet }
        val factory = app.runtimes[bundle.runtime] ?: throw BundleException(
            BundleProblem.OTHER_RUNTIME,
            "This app has no ${bundle.runtime}.",
            listOf(bundle.runtime, app.runtimes.keys.joinToString()),
        )
        factory.load(bundle, batch.threads).use { runtime ->
            val benchmark = Benchmark(bundle, runtime, StoredPictures, facts = deviceFacts())
            benchmark.run(batch.requests, batch.answers, stop) { done, all -> told.post(BatchState(batch, done, all)) }
        }
    }
}
