/*
 * The speed test: how fast the model is on this phone, now and before.
 */
package org.hydramobile.demo

import android.app.Activity
import android.os.Bundle
import android.os.SystemClock
import android.text.format.DateUtils
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toolbar
import org.hydramobile.screens.Listener
import org.hydramobile.screens.Measurement
import org.hydramobile.screens.ModelsState
import org.hydramobile.screens.Phase
import org.hydramobile.screens.SpeedState

class SpeedActivity : Activity() {
    private val speedListener = Listener<SpeedState> { show(it) }
    private val modelsListener = Listener<ModelsState> { show(demo.measurements.told.now) }
    private var shown: List<Measurement>? = null
    private var startedAt = 0L
    private val others by lazy { ForeignApps(this) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.speed_screen)
        leaveByArrow()
        if (isLarge) stackTiles()
        findViewById<Toolbar>(R.id.bar).run {
            inflateMenu(R.menu.speed)
            setOnMenuItemClickListener { true.also { share() } }
        }
        findViewById<View>(R.id.measure).setOnClickListener {
            if (demo.measurements.told.now.isBusy) stop() else measure()
        }
    }

    override fun onStart() {
        super.onStart()
        demo.models.refresh()
        demo.models.told.listen(modelsListener)
        demo.measurements.told.listen(speedListener)
    }

    override fun onResume() {
        super.onResume()
        others.isWaited = false
    }

    override fun onStop() {
        demo.models.told.leave(modelsListener)
        demo.measurements.told.leave(speedListener)
        super.onStop()
    }

    /** With large letters two numbers have no room beside each other. */
    private fun stackTiles() {
        val tiles = findViewById<LinearLayout>(R.id.result_tiles)
        tiles.orientation = LinearLayout.VERTICAL
        for (index in 0 until tiles.childCount) {
            tiles.getChildAt(index).layoutParams = LinearLayout.LayoutParams(
                ViewGroup.LayoutParams.MATCH_PARENT,
                ViewGroup.LayoutParams.WRAP_CONTENT,
            )
        }
    }

    private fun measure() {
        val model = demo.models.told.now.used ?: return
        startedAt = SystemClock.uptimeMillis()
        demo.measurements.start(model, demo.settings)
    }

    private fun stop() {
        // The second tap of a double tap is no wish to stop.
        if (SystemClock.uptimeMillis() - startedAt > DOUBLE_TAP_MILLISECONDS) demo.measurements.stop()
    }

    private fun share() = others.share(
        "application/json",
        Measurement.bench(demo.measurements.told.now.made.reversed(), deviceFacts()),
    )

    private fun show(state: SpeedState) {
        val running = state.running
        val hasModel = demo.models.told.now.used != null
        findViewById<Button>(R.id.measure).run {
            setText(if (running != null) R.string.stop else R.string.measure)
            isEnabled = if (running != null) !running.isStopping else hasModel
        }
        findViewById<View>(R.id.measuring).isShownHere = running != null
        if (running != null) {
            findViewById<TextView>(R.id.measure_phase).run {
                val isTiming = running.phase == Phase.ANSWERING && !running.isStopping
                val now = if (isTiming) getString(R.string.measuring) else phase(running.phase, running.isStopping)
                if (text.toString() != now) text = now
            }
            findViewById<ProgressBar>(R.id.measure_bar).progress = (100 * running.share).toInt()
        }
        window.decorView.keepScreenOn = running != null
        findViewById<Toolbar>(R.id.bar).menu.findItem(R.id.share_speed).isVisible = state.made.isNotEmpty()
        findViewById<TextView>(R.id.speed_news).run {
            val problem = state.problem
            val now = when {
                problem != null -> worded(problem)
                !hasModel && demo.models.told.now.isRead -> getString(R.string.no_speed_model)
                state.made.isEmpty() && state.isRead && running == null -> getString(R.string.no_speed_yet)
                else -> ""
            }
            if (text.toString() != now) text = now
            isShownHere = now.isNotEmpty()
        }
        if (shown !== state.made) showMade(state.made)
        shown = state.made
    }

    private fun showMade(made: List<Measurement>) {
        val last = made.firstOrNull()
        findViewById<View>(R.id.result).isShownHere = last != null
        findViewById<View>(R.id.history_title).isShownHere = last != null
        val history = findViewById<LinearLayout>(R.id.history)
        history.isShownHere = last != null
        history.removeAllViews()
        if (last == null) return
        findViewById<TextView>(R.id.result_model).text = getString(
            R.string.model_preset_runtime,
            last.model.name,
            last.model.preset,
            runtimeName(last.model.runtime),
        )
        findViewById<TextView>(R.id.result_rate).text = last.rate?.let { digits(it) }.orEmpty()
        findViewById<TextView>(R.id.result_first).text = last.firstSeconds?.let { seconds(it) }.orEmpty()
        findViewById<TextView>(R.id.result_memory).text = last.memoryBytes?.let { size(it) }.orEmpty()
        findViewById<TextView>(R.id.result_thermal).run {
            isShownHere = last.thermal.any { it != null }
            text = getString(R.string.thermal_state, heat(last.thermal.firstOrNull()), heat(last.thermal.lastOrNull()))
        }
        if (!isLarge) history.addView(row(history, null))
        for (measurement in made.take(MOST_SHOWN)) history.addView(row(history, measurement))
    }

    /** A row of the history; null: its head. */
    private fun row(parent: ViewGroup, made: Measurement?): View {
        val view = parent.inflate(R.layout.speed_row)
        val time = made?.let { DateUtils.formatDateTime(this, it.measuredAt, TIME) }.orEmpty()
        val cells = listOf(
            R.id.row_model to (
                made?.let { getString(R.string.model_and_preset, it.model.name, it.model.preset) }
                    ?: getString(R.string.history_model)
                ),
            R.id.row_when to time,
            R.id.row_first to
                (made?.let { it.firstSeconds?.let { first -> seconds(first) } } ?: getString(R.string.history_first)),
            R.id.row_rate to (made?.let { it.rate?.let { rate -> digits(rate) } } ?: getString(R.string.history_rate)),
            R.id.row_memory to
                (made?.let { it.memoryBytes?.let { bytes -> size(bytes) } } ?: getString(R.string.memory)),
        )
        for ((id, text) in cells) {
            view.findViewById<TextView>(id).run {
                this.text = text
                if (made == null) setTextAppearance(R.style.Demo_Text_Small)
            }
        }
        view.findViewById<View>(R.id.row_when).isShownHere = made != null
        if (isLarge && made != null) {
            // No room for columns: the numbers follow the date, with their units.
            view.findViewById<View>(R.id.row_numbers).isShownHere = false
            val parts =
                listOfNotNull(
                    time,
                    made.firstSeconds?.let {
                        seconds(it)
                    },
                    made.rate?.let { rate(it) }, made.memoryBytes?.let { size(it) },
                )
            view.findViewById<TextView>(R.id.row_when).text =
                parts.reduce { all, part -> getString(R.string.joined, all, part) }
        }
        return view
    }

    private companion object {
        const val DOUBLE_TAP_MILLISECONDS = 600
        const val MOST_SHOWN = 30
        const val TIME = DateUtils.FORMAT_SHOW_DATE or DateUtils.FORMAT_SHOW_TIME or DateUtils.FORMAT_ABBREV_ALL
    }
}
