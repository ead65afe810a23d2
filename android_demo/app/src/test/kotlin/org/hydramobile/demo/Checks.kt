/*
 * What is wrong with a screen for its readers: looked up in the real views, and in the pixels that they draw.
 */
package org.hydramobile.demo

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Rect
import android.view.View
import android.view.ViewGroup
import android.widget.AbsListView
import android.widget.EditText
import android.widget.ImageView
import android.widget.ScrollView
import android.widget.SeekBar
import android.widget.TextView
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow

/** What was found of one window. */
class Findings {
    val faults = ArrayList<String>()
    var texts = 0
    var targets = 0
    var leastContrast = 21.0
}

/** Looks at a window, [root], whose pixels are [picture]. */
class Checks(private val root: View, private val picture: Bitmap) {
    private val density = root.resources.displayMetrics.density
    private val found = Findings()
    private val place = IntArray(2)

    fun findings(): Findings {
        each(root) { view ->
            if (isTarget(view)) target(view)
            if (view is TextView && (view.text.isNotBlank() || !view.hint.isNullOrBlank())) text(view)
            if (view is ImageView && view.isImportantForAccessibility && view.contentDescription.isNullOrBlank()) {
                found.faults.add("no description: ${name(view)}")
            }
            val isScrolled = (view is AbsListView || view is ScrollView) && canScroll(view)
            if (isScrolled && view.height / density < LEAST_READ) {
                found.faults.add("only ${view.height / density} dp are left for reading: ${name(view)}")
            }
            if (view is EditText && view.width / density < LEAST_FIELD) {
                found.faults.add("a field is ${view.width / density} dp wide: ${name(view)}")
            }
        }
        return found
    }

    private fun canScroll(view: View) = view.canScrollVertically(1) || view.canScrollVertically(-1)

    private fun isTarget(view: View): Boolean {
        val isAction = view.hasOnClickListeners() || view.isClickable || view is SeekBar
        return isAction && view !is AbsListView && view !is ScrollView && view.id != android.R.id.content &&
            view !== root
    }

    private fun target(view: View) {
        found.targets++
        val (wide, high) = view.width / density to view.height / density
        if (wide < TARGET ||
            high < TARGET
        ) {
            found.faults.add("target ${name(view)} is %.0f x %.0f dp".format(wide, high))
        }
        val own = listOf(view.contentDescription, (view as? TextView)?.text, (view as? EditText)?.hint)
        var isSaid = own.any { !it.isNullOrBlank() }
        if (view is ViewGroup) each(view) { if (it is TextView && it.text.isNotBlank()) isSaid = true }
        if (!isSaid) found.faults.add("no label: ${name(view)}")
    }

    private fun text(view: TextView) {
        found.texts++
        view.getLocationInWindow(place)
        if (view.width == 0 || view.height == 0) {
            found.faults.add("no room: ${name(view)}")
            return
        }
        cut(view)
        if (place[0] < -1 ||
            place[0] + view.width > picture.width + 1
        ) {
            found.faults.add("beyond the screen: ${name(view)}")
        }
        reached(view)
        contrast(view)
    }

    private fun cut(view: TextView) {
        val layout = view.layout ?: return
        val room = view.height - view.compoundPaddingTop - view.compoundPaddingBottom
        val across = view.width - view.compoundPaddingLeft - view.compoundPaddingRight
        val words = "${name(view)} \"${view.text.take(40)}\""
        if (view is EditText) {
            val isOneLine = view.text.isEmpty() && view.maxLines == 1
            val isWhole = layout.height <= room + 1 && view.paint.measureText("${view.hint}") <= across + 1
            if (isOneLine && !isWhole) found.faults.add("cut hint: $words")
            return
        }
        if (layout.height > room + 1) found.faults.add("cut below: $words")
        for (line in 0 until layout.lineCount) {
            if (layout.getEllipsisCount(line) > 0) found.faults.add("cut by dots: $words")
            val end = layout.getLineEnd(line)
            // A letter at a line's end with more of its word behind it.
            val isBroken = end < view.text.length && view.text[end - 1].isLetterOrDigit()
            if (isBroken) found.faults.add("a word is broken: $words")
            if (layout.getLineMax(line) > across + 1) found.faults.add("cut at the side: $words")
        }
    }

    /** Without scrolling, all of it is on the screen. */
    private fun reached(view: TextView) {
        val isScrolled = generateSequence(view.parent) { it.parent }.any { it is ScrollView || it is AbsListView }
        if (isScrolled) return
        val seen = Rect()
        val isShown = view.getGlobalVisibleRect(seen)
        // The ground of a button is smaller than the button.
        val isWhole =
            isShown && (view.height - seen.height()) / density <= 6 && (view.width - seen.width()) / density <= 6
        if (!isWhole) found.faults.add("out of reach: ${name(view)}")
    }

    /** Against the commonest pixel behind it. */
    private fun contrast(view: TextView) {
        if (!view.isEnabled) return
        val seen = Rect()
        // What is half gone below an edge that fades out has colors of its own.
        if (!view.getGlobalVisibleRect(seen) || 2 * seen.height() < view.height || fades(view, seen)) return
        val counts = HashMap<Int, Int>()
        for (y in max(0, seen.top) until min(picture.height, seen.bottom) step 2) {
            for (x in max(0, seen.left) until min(picture.width, seen.right) step 2) {
                counts.merge(picture.getPixel(x, y), 1, Int::plus)
            }
        }
        val ground = counts.maxByOrNull { it.value }?.key ?: return
        val ink = if (view.text.isNullOrBlank()) view.currentHintTextColor else view.currentTextColor
        val ratio = ratio(ink, ground)
        val isBig = view.textSize / density / view.resources.configuration.fontScale >= BIG
        found.leastContrast = min(found.leastContrast, ratio)
        if (ratio < if (isBig) 3.0 else 4.5) {
            val pair = "%06X on %06X".format(ink and 0xFFFFFF, ground and 0xFFFFFF)
            found.faults.add("contrast %.2f: ${name(view)} $pair".format(ratio))
        }
    }

    /** Whether [view], seen at [seen], reaches into the edge of a list beyond which more can be scrolled to. */
    private fun fades(view: View, seen: Rect): Boolean {
        val list = generateSequence(view.parent) { it.parent }.firstOrNull { it is ScrollView || it is AbsListView }
        val edge = Rect()
        if (list !is View || !list.getGlobalVisibleRect(edge)) return false
        val fade = list.verticalFadingEdgeLength
        return (list.canScrollVertically(1) && seen.bottom > edge.bottom - list.paddingBottom - fade) ||
            (list.canScrollVertically(-1) && seen.top < edge.top + list.paddingTop + fade)
    }

    companion object {
        private const val TARGET = 47.9
        private const val LEAST_READ = 48
        private const val LEAST_FIELD = 120
        private const val BIG = 24f

        /** A window's pixels. */
        fun drawn(view: View): Bitmap {
            val bitmap = Bitmap.createBitmap(max(1, view.width), max(1, view.height), Bitmap.Config.ARGB_8888)
            view.draw(Canvas(bitmap))
            return bitmap
        }

        fun each(view: View, action: (View) -> Unit) {
            if (view.visibility != View.VISIBLE) return
            action(view)
            if (view is ViewGroup) for (index in 0 until view.childCount) each(view.getChildAt(index), action)
        }

        fun name(view: View): String =
            if (view.id > 0xFFFF) view.resources.getResourceEntryName(view.id) else view.javaClass.simpleName

        /** Contrast as WCAG 2 defines it. */
        fun ratio(one: Int, other: Int): Double {
            val (dark, light) = listOf(luminance(one), luminance(other)).sorted()
            return (light + 0.05) / (dark + 0.05)
        }

        private fun luminance(color: Int): Double {
            fun part(value: Int) =
                (value / 255.0).let { if (it <= 0.03928) it / 12.92 else ((it + 0.055) / 1.055).pow(2.4) }
            return 0.2126 * part(Color.red(color)) + 0.7152 * part(Color.green(color)) +
                0.0722 * part(Color.blue(color))
        }
    }
}
