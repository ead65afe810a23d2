/*
 * The batch of questions that a host has started: of the process, not of a screen, so that a screen that is made anew
 * neither starts it again nor ends it.
 */
package org.hydramobile.demo

import org.hydramobile.core.Benchmark
import org.hydramobile.core.BenchmarkException
import org.hydramobile.core.BenchmarkProblem
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.StopSignal
import org.hydramobile.screens.Told
import java.io.File

/** What a host asks for: files of requests and answers, a bundle, threads. */
internal data class Batch(val requests: File, val answers: File, val bundle: File, val threads: Int)

/** [done] of [all] questions are answered; [end]: null while it runs, "" where it is done, else why it ended early. */
internal class BatchState(val batch: Batch, val done: Int = 0, val all: Int = 0, val end: String? = null)

/** One at a time. For the thread of the screens. */
internal class Batches(private val app: DemoApplication) {
    private val none = BatchState(Batch(File(""), File(""), File(""), 0), end = "")
    val told = Told(none, app.screens)

    /** Whether no batch was started in this process. */
    val isNew: Boolean get() = told.now === none
    private var signal = StopSignal()

    fun start(batch: Batch) {
        val now = told.now
        if (now.end == null) {
            // The same call again is a host that has lost its connection; another would wait for an end in vain.
            if (now.batch.answers != batch.answers) app.hands.execute { refuse(batch) }
            return
        }
        val stop = StopSignal().also { signal = it }
        told.set(BatchState(batch))
        app.host.alone(stop) {
            val failure = Benchmark.ending(batch.answers) { run(batch, stop) }
            failure?.let { app.log.add(it) }
            told.now.let { told.post(BatchState(batch, it.done, it.all, failure?.message ?: "")) }
        }
    }

    /** End it; the same call goes on where it did. */
    fun stop() = signal.stop()

    private fun refuse(batch: Batch) {
        Benchmark.ending(batch.answers) {
            val what = "Another batch is running. Wait for its end, and start this one again."
            throw BenchmarkException(BenchmarkProblem.STOPPED, what)
        }
    }

    private fun run(batch: Batch, stop: StopSignal) {
        val bundle = app.store.open(batch.bundle, app.phone.limits()) { _, _ -> !stop.isSet }
        val factory = app.runtimes[bundle.runtime]
            ?: throw BundleException(BundleProblem.OTHER_RUNTIME, "This app has no ${bundle.runtime}.")
        factory.load(bundle, batch.threads).use { runtime ->
            val benchmark = Benchmark(bundle, runtime, StoredPictures, facts = deviceFacts())
            benchmark.run(batch.requests, batch.answers, stop) { done, all -> told.post(BatchState(batch, done, all)) }
        }
    }
}
