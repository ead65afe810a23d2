/*
 * The benchmark mode: a file of questions in, a file of answers out, started by a host through adb.
 *
 *     am start -W -n org.hydramobile.demo/.BenchActivity --es requests FILE --es answers FILE --es bundle FOLDER
 *         [--ei threads N]
 *
 * `hydra-mobile evaluate --device app` does. The last line of the answers tells that and how it ended; the same
 * call goes on where it did. Formats: `native/README.md`.
 */
package org.hydramobile.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.widget.TextView
import org.hydramobile.core.Benchmark
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.StopSignal
import java.io.File

class BenchActivity : Activity() {
    private val status by lazy { findViewById<TextView>(R.id.batch_status) }

    /** Of the batch that is running; null: none is. For the thread of the screens. */
    private var running: StopSignal? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.batch)
        start(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        if (running == null) start(intent)
    }

    override fun onDestroy() {
        running?.stop()
        super.onDestroy()
    }

    private fun start(intent: Intent) {
        val requests = intent.getStringExtra("requests")
        val answers = intent.getStringExtra("answers")
        val bundle = intent.getStringExtra("bundle")
        if (requests == null || answers == null || bundle == null) {
            status.setText(R.string.batch_usage)
            return
        }
        val threads = intent.getIntExtra("threads", 0)
        val signal = StopSignal().also { running = it }
        status.setText(R.string.work_loading)
        status.keepScreenOn = true
        Thread({ run(File(requests), File(answers), File(bundle), threads, signal) }, "batch").start()
    }

    private fun run(requests: File, answers: File, folder: File, threads: Int, signal: StopSignal) {
        val failure = Benchmark.ending(answers) {
            // Two models at once would be more than was estimated.
            demo.asker.unloadNow()
            val bundle = demo.store.open(folder, demo.device()) { _, _ -> !signal.isSet }
            val factory = RUNTIMES[bundle.runtime]
                ?: throw BundleException(BundleProblem.OTHER_RUNTIME, "This app has no ${bundle.runtime}.")
            factory.load(bundle, threads).use { runtime ->
                val benchmark = Benchmark(bundle, runtime, StoredPictures, facts = deviceFacts())
                benchmark.run(requests, answers, signal) { done, all ->
                    show(getString(R.string.batch_progress, done, all))
                }
            }
        }
        demo.screens.execute {
            running = null
            status.keepScreenOn = false
        }
        show(failure?.message ?: getString(R.string.batch_done, answers.path))
    }

    private fun show(text: String) = demo.screens.execute { status.text = text }
}
