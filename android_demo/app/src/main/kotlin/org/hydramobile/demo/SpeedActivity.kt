/*
 * The benchmark screen: how fast the chosen model is on this phone.
 */
package org.hydramobile.demo

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.TextView
import org.hydramobile.screens.AskListener
import org.hydramobile.screens.AskState
import org.hydramobile.screens.Shown
import org.hydramobile.screens.Work

class SpeedActivity : Activity() {
    private val listener = AskListener { show(it) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.speed)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        findViewById<TextView>(R.id.speed_model).text = demo.model?.name ?: getString(R.string.no_model)
        findViewById<Button>(R.id.measure).setOnClickListener {
            if (demo.asker.state.isBusy) demo.asker.stop() else measure()
        }
    }

    override fun onStart() {
        super.onStart()
        demo.asker.listener = listener
    }

    override fun onStop() {
        demo.asker.listener = null
        super.onStop()
    }

    private fun measure() {
        demo.model?.let { demo.asker.measure(it, demo.settings) }
    }

    private fun show(state: AskState) {
        findViewById<Button>(R.id.measure).setText(if (state.isBusy) R.string.stop else R.string.measure)
        val speed = state.speed
        findViewById<TextView>(R.id.speed_result).text = when (state.work) {
            Work.NOTHING -> state.message ?: if (speed == null) "" else Shown.speed(speed)
            else -> progressText(state)
        }
    }
}
