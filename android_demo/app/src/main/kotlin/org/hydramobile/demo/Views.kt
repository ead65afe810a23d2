/*
 * What screens do with their views alike: rows of facts, menus, questions before what cannot be undone.
 */
package org.hydramobile.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.Context
import android.os.Bundle
import android.view.Gravity
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.BaseAdapter
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ListPopupWindow
import android.widget.TextView
import android.widget.Toolbar
import kotlin.math.min
import kotlin.math.roundToInt

internal fun Context.dp(value: Int) = (value * resources.displayMetrics.density).roundToInt()

internal fun ViewGroup.inflate(layout: Int): View = LayoutInflater.from(context).inflate(layout, this, false)

/** Whether letters are so large that two columns have no room. */
internal val Context.isLarge get() = resources.configuration.fontScale >= 1.3f

internal var View.isShownHere: Boolean
    get() = visibility == View.VISIBLE
    set(value) {
        visibility = if (value) View.VISIBLE else View.GONE
    }

/** The color that plays a role in the theme. */
internal fun Context.tone(role: Int): Int = obtainStyledAttributes(intArrayOf(role)).run {
    getColor(0, 0).also { recycle() }
}

/** Add a row with a name and its value. */
internal fun ViewGroup.fact(name: String, value: String) {
    val row = inflate(R.layout.fact) as LinearLayout
    row.findViewById<TextView>(R.id.fact_name).text = name
    row.findViewById<TextView>(R.id.fact_value).text = value
    if (context.isLarge) {
        row.orientation = LinearLayout.VERTICAL
        for (id in intArrayOf(R.id.fact_name, R.id.fact_value)) {
            val view = row.findViewById<TextView>(id)
            val wide = ViewGroup.LayoutParams.MATCH_PARENT
            view.layoutParams = LinearLayout.LayoutParams(wide, ViewGroup.LayoutParams.WRAP_CONTENT)
            view.textAlignment = View.TEXT_ALIGNMENT_VIEW_START
        }
    }
    addView(row)
}

/** Make the bar's arrow end the screen. */
internal fun Activity.leaveByArrow() = findViewById<Toolbar>(R.id.bar).setNavigationOnClickListener { finish() }

/** dp between a menu and what it belongs to. */
private const val GAP = 8

/** Let the message begin where the title does, whatever language its words are in. */
internal fun AlertDialog.alignMessage() {
    findViewById<TextView>(android.R.id.message)?.textAlignment = View.TEXT_ALIGNMENT_VIEW_START
}

/** A row of a menu. */
internal class MenuRow(
    val icon: Int,
    val title: String,
    val about: String? = null,
    val isChosen: Boolean = false,
    val action: () -> Unit,
)

/** Show a menu at [anchor], the one kind that there is: a list with icons, on any Android. */
internal fun Activity.popUp(anchor: View, rows: List<MenuRow>, width: Int, atEnd: Boolean = false) {
    // The second tap of a double tap may come before the menu takes all taps.
    if ((anchor.getTag(R.id.menu_title) as? ListPopupWindow)?.isShowing == true) return
    val popup = ListPopupWindow(this)
    anchor.setTag(R.id.menu_title, popup)
    popup.anchorView = anchor
    popup.isModal = true
    popup.setDropDownGravity(if (atEnd) Gravity.END else Gravity.START)
    // Large letters need more room, up to the screen's.
    val wanted = (dp(width) * min(resources.configuration.fontScale, 2f).coerceAtLeast(1f)).toInt()
    popup.setContentWidth(min(wanted, window.decorView.width - dp(32)))
    // Clear of what it belongs to, and of the screen's edge.
    val place = IntArray(2).also { anchor.getLocationInWindow(it) }
    popup.verticalOffset = if (place[1] < window.decorView.height / 2) 0 else -dp(GAP)
    val isMirrored = resources.configuration.layoutDirection == View.LAYOUT_DIRECTION_RTL
    val aside = if (isMirrored) dp(GAP) else -dp(GAP)
    popup.horizontalOffset = if (atEnd) aside else 0
    popup.setAdapter(MenuRows(rows))
    popup.setOnItemClickListener { _, _, position, _ ->
        popup.dismiss()
        rows[position].action()
    }
    popup.show()
}

private class MenuRows(private val rows: List<MenuRow>) : BaseAdapter() {
    override fun getCount() = rows.size

    override fun getItem(position: Int) = rows[position]

    override fun getItemId(position: Int) = position.toLong()

    override fun getView(position: Int, old: View?, parent: ViewGroup): View {
        val row = rows[position]
        val view = old ?: parent.inflate(R.layout.menu_row)
        view.findViewById<ImageView>(R.id.menu_icon).setImageResource(row.icon)
        view.findViewById<TextView>(R.id.menu_title).text = row.title
        view.findViewById<TextView>(R.id.menu_about).run {
            text = row.about
            isShownHere = row.about != null
        }
        view.findViewById<View>(R.id.menu_check).isShownHere = row.isChosen
        return view
    }
}

/**
 * Asks before something is done that cannot be undone; the question survives a turn of the phone.
 *
 * [make] gives the dialog about a subject, without buttons; [key] is the screen's name for it.
 */
internal class Asking(
    private val activity: Activity,
    private val key: String,
    private val yes: Int,
    private val make: (String) -> AlertDialog.Builder,
    private val action: (String) -> Unit,
) {
    private var subject: String? = null
    private var dialog: AlertDialog? = null

    fun ask(subject: String) {
        if (dialog != null) return
        this.subject = subject
        dialog = make(subject)
            .setPositiveButton(yes) { _, _ -> action(subject) }
            .setNegativeButton(R.string.cancel, null)
            .setOnDismissListener { forget() }
            .show()
            .also { it.alignMessage() }
    }

    private fun forget() {
        dialog = null
        // Not where the screen is made anew: it asks again.
        if (!activity.isChangingConfigurations && !activity.isDestroyed) subject = null
    }

    fun save(state: Bundle) = state.putString(key, subject)

    fun restore(state: Bundle?) {
        state?.getString(key)?.let { ask(it) }
    }

    /** The screen ends: its window must not outlive it. */
    fun close() {
        dialog?.setOnDismissListener(null)
        dialog?.dismiss()
    }
}
