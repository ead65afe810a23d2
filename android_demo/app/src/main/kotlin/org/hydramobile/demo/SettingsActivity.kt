/*
 * Settings: each change counts at once.
 */
package org.hydramobile.demo

import android.app.Activity
import android.app.AlertDialog
import android.os.Bundle
import android.view.View
import android.widget.EditText
import android.widget.SeekBar
import android.widget.TextView
import org.hydramobile.screens.AskSettings
import kotlin.math.abs

class SettingsActivity : Activity() {
    private val sliders = ArrayList<Slider>()

    private val resetting by lazy {
        Asking(this, "resetting", R.string.reset_short, { _ ->
            AlertDialog.Builder(this).setMessage(R.string.reset_title)
        }) { reset() }
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.settings_screen)
        leaveByArrow()
        val lengths = Setting(AskSettings.MOST_TOKENS, LENGTHS) { it.mostTokens.toDouble() }
        sliders += Slider(R.id.length, R.string.length, R.string.length_help, lengths)
        val heat = Setting(AskSettings.TEMPERATURE, steps(0, 20, 10.0)) { it.temperature.toDouble() }
        sliders += Slider(R.id.temperature, R.string.temperature, R.string.temperature_help, heat)
        val share = Setting(AskSettings.TOP_P, steps(1, 20, 20.0)) { it.topP.toDouble() }
        sliders += Slider(R.id.top_p, R.string.top_p, R.string.top_p_help, share)
        val threads = Setting(AskSettings.THREADS, steps(0, 8, 1.0)) { it.threads.toDouble() }
        sliders += Slider(R.id.threads, R.string.threads, R.string.threads_help, threads)
        showSeed()
        findViewById<EditText>(R.id.seed).addTextChangedListener(
            After { demo.keep(mapOf(AskSettings.SEED to it.trim().toLongOrNull()?.toString())) },
        )
        findViewById<View>(R.id.reset).setOnClickListener { resetting.ask("") }
        resetting.restore(savedInstanceState)
    }

    override fun onDestroy() {
        resetting.close()
        super.onDestroy()
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        resetting.save(state)
    }

    private fun showSeed() = findViewById<EditText>(R.id.seed).setText(demo.ownSettings.seed?.toString().orEmpty())

    private fun reset() {
        demo.keep(sliders.associate { it.key to null } + (AskSettings.SEED to null))
        sliders.forEach { it.show() }
        showSeed()
    }

    /** Kept under [key], one of [values]; [of] reads it. */
    private class Setting(val key: String, val values: List<Double>, val of: (AskSettings) -> Double)

    /** The views of a setting. */
    private inner class Slider(id: Int, private val name: Int, help: Int, setting: Setting) :
        SeekBar.OnSeekBarChangeListener {
        val key = setting.key
        private val values = setting.values
        private val read = setting.of
        private val view = findViewById<View>(id)
        private val bar = view.findViewById<SeekBar>(R.id.slider_bar)

        init {
            view.findViewById<TextView>(R.id.slider_name).setText(name)
            view.findViewById<TextView>(R.id.slider_help).setText(help)
            bar.max = values.size - 1
            // The kept value is its state.
            bar.isSaveEnabled = false
            bar.setOnSeekBarChangeListener(this)
            show()
        }

        fun show() {
            val now = read(demo.ownSettings)
            bar.progress = values.indices.minByOrNull { abs(values[it] - now) } ?: 0
            say(now)
        }

        private fun say(value: Double) {
            val isAutomatic = key == AskSettings.THREADS && value == 0.0
            val text = if (isAutomatic) getString(R.string.automatic) else shown(value)
            view.findViewById<TextView>(R.id.slider_value).text = text
            bar.contentDescription = getString(R.string.slider_state, getString(name), text)
        }

        private fun shown(value: Double): String {
            val places = if (value == Math.rint(value)) {
                0
            } else if (value * 10 == Math.rint(value * 10)) {
                1
            } else {
                2
            }
            return String.format(resources.configuration.locales[0], "%.${places}f", value)
        }

        override fun onProgressChanged(bar: SeekBar, progress: Int, fromUser: Boolean) {
            if (!fromUser) return
            val value = values[progress]
            demo.keep(mapOf(key to if (value == Math.rint(value)) "${value.toInt()}" else "$value"))
            say(value)
        }

        override fun onStartTrackingTouch(bar: SeekBar) = Unit

        override fun onStopTrackingTouch(bar: SeekBar) = Unit
    }

    private companion object {
        val LENGTHS = listOf(8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024).map { it.toDouble() }

        fun steps(first: Int, last: Int, by: Double) = (first..last).map { it / by }
    }
}
