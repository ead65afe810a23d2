/*
 * The benchmark mode: a file of questions in, a file of answers out, started by a host through adb.
 *
 *     am start -W -n org.hydramobile.demo/.BenchActivity --es requests FILE --es answers FILE --es bundle FOLDER
 *         [--ei threads N]
 *
 * `hydra-mobile evaluate run --device app` does. The last line of the answers tells that and how it ended; the same
 * call goes on where it did. Formats: `native/README.md`.
 */
package org.hydramobile.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.widget.ProgressBar
import android.widget.TextView
import org.hydramobile.screens.Listener
import java.io.File

class BenchActivity : Activity() {
    private val listener = Listener<BatchState> { show(it) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.batch_screen)
        // A screen that is made anew finds its batch running; after the end of the process it goes on.
        if (savedInstanceState == null || demo.batches.isNew) start(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        start(intent)
    }

    override fun onStart() {
        super.onStart()
        demo.batches.told.listen(listener)
    }

    override fun onStop() {
        demo.batches.told.leave(listener)
        super.onStop()
    }

    override fun onDestroy() {
        if (isFinishing) demo.batches.stop()
        super.onDestroy()
    }

    private fun start(intent: Intent) {
        val requests = intent.getStringExtra("requests")
        val answers = intent.getStringExtra("answers")
        val bundle = intent.getStringExtra("bundle")
        if (requests == null || answers == null || bundle == null) return
        val threads = intent.getIntExtra("threads", 0)
        demo.batches.start(Batch(File(requests), File(answers), File(bundle), threads))
    }

    private fun show(state: BatchState) {
        val problem = state.problem
        findViewById<TextView>(R.id.batch_status).text = when {
            demo.batches.isNew -> getString(R.string.batch_usage)
            problem != null -> getString(R.string.batch_failed, worded(problem))
            state.isOver -> getString(R.string.batch_done, state.batch.answers.path)
            state.all == 0 -> getString(R.string.phase_loading)
            else -> getString(R.string.batch_progress, state.done, state.all)
        }
        val bar = findViewById<ProgressBar>(R.id.batch_bar)
        bar.isShownHere = !state.isOver
        bar.max = maxOf(1, state.all)
        bar.progress = state.done
        bar.keepScreenOn = !state.isOver
    }
}
