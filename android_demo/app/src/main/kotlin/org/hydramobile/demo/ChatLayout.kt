/*
 * The chat's rows, one below the other, with room for reading kept free.
 */
package org.hydramobile.demo

import android.content.Context
import android.util.AttributeSet
import android.view.View
import android.widget.LinearLayout

/**
 * Bar, conversation and composer.
 *
 * Across with the keyboard open, a phone leaves less height than bar, composer and a few lines need: then the bar
 * gives way until there is room again, and a long question scrolls in its field. Typing moves no bar: what counts is a
 * composer of one line. It is decided while measuring, so that no frame is drawn that is laid out anew right after.
 */
internal class ChatLayout(context: Context, attributes: AttributeSet) : LinearLayout(context, attributes) {
    private val bar by lazy { findViewById<View>(R.id.bar) }
    private val composer by lazy { findViewById<View>(R.id.composer_area) }
    private val question by lazy { findViewById<View>(R.id.question) }

    /** The least height of the composer: with a question of one line. */
    private var least = 0

    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val free = MeasureSpec.makeMeasureSpec(0, MeasureSpec.UNSPECIFIED)
        super.measureChildWithMargins(bar, widthMeasureSpec, 0, free, 0)
        super.measureChildWithMargins(composer, widthMeasureSpec, 0, free, 0)
        least = composer.measuredHeight - question.measuredHeight + question.minimumHeight
        bar.isShownHere = MeasureSpec.getSize(heightMeasureSpec) - bar.measuredHeight - least >= context.dp(READ)
        super.onMeasure(widthMeasureSpec, heightMeasureSpec)
    }

    override fun measureChildWithMargins(child: View, width: Int, widthUsed: Int, height: Int, heightUsed: Int) {
        if (child !== composer) return super.measureChildWithMargins(child, width, widthUsed, height, heightUsed)
        val above = context.dp(READ) + if (bar.isShownHere) bar.measuredHeight else 0
        val room = maxOf(MeasureSpec.getSize(height) - above, least)
        val most = MeasureSpec.makeMeasureSpec(room, MeasureSpec.AT_MOST)
        super.measureChildWithMargins(child, width, widthUsed, most, 0)
    }

    private companion object {
        /** dp of the conversation that stay to be read: two lines. */
        const val READ = 48
    }
}
