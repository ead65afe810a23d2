package org.hydramobile.demo

import android.graphics.Rect
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category
import org.robolectric.annotation.Config

/** Whether everything can be seen and reached where there is little room; `ViewsTest` has the ordinary screens. */
class LayoutTest : PhoneTest() {
    private fun dp(pixels: Int) = pixels / phone.screen.resources.displayMetrics.density

    /** What is wrong with the screen as it is laid out now. */
    private fun faults(): List<String> {
        phone.draw()
        val window = phone.screen.window.decorView
        return Checks(window, Checks.drawn(window)).findings().faults.distinct()
    }

    private fun assertAllScreens() {
        phone.addModel("first")
        phone.history(2)
        phone.open()
        val found = LinkedHashMap<String, List<String>>()
        for (screen in Screen.values().filter { it != Screen.BATCH }) {
            if (screen != Screen.ANSWER) phone.open(screen)
            phone.drain()
            faults().takeIf { it.isNotEmpty() }?.let { found[screen.name] = it }
            if (screen != Screen.ANSWER) phone.back()
        }
        assertEquals(emptyMap<String, List<String>>(), found)
    }

    private fun cutHints(): List<String> {
        phone.open(Screen.SETTINGS).draw()
        return phone.views().filterIsInstance<EditText>().filter { it.text.isEmpty() && it.maxLines == 1 }.mapNotNull {
            val room = it.width - it.compoundPaddingLeft - it.compoundPaddingRight
            val wide = it.paint.measureText(it.hint.toString()).toInt()
            if (wide <= room) null else "\"${it.hint}\" needs ${dp(wide)} dp and has ${dp(room)} dp"
        }
    }

    @Test
    fun theHelpInAFieldIsReadWhole() = assertEquals(emptyList<String>(), cutHints())

    @Test
    @Config(qualifiers = "w320dp-h568dp-xhdpi", fontScale = 2.0f)
    fun theHelpInAFieldIsReadWholeInLargeLetters() = assertEquals(emptyList<String>(), cutHints())

    @Test
    @Category(Slow::class)
    fun anOrdinaryPhone() = assertAllScreens()

    @Test
    @Category(Slow::class)
    fun whatIsTappedIsLargeEnough() {
        phone.addModel("first")
        phone.open()
        for (screen in Screen.values().filter { it != Screen.BATCH }) {
            if (screen != Screen.ANSWER) phone.open(screen)
            phone.drain()
            phone.draw()
            val small = phone.views().filter { it is Button && (dp(it.width) < 48 || dp(it.height) < 48) }
            assertEquals("$screen", emptyList<View>(), small)
            if (screen != Screen.ANSWER) phone.back()
        }
    }

    @Test
    @Config(qualifiers = "w320dp-h240dp-xhdpi")
    fun aSplitScreen() = assertAllScreens()

    @Test
    @Config(qualifiers = "w640dp-h146dp-land-xhdpi")
    fun acrossWithTheKeyboard() {
        // 360 dp of height less a keyboard of 190 and a status bar of 24, which Robolectric's window does not have.
        phone.addModel("first")
        phone.history(2)
        phone.open()
        assertEquals(emptyList<String>(), faults())
        // A long question takes the room of nothing else, and leaves it as it was.
        val field = phone.question.height
        phone.type("What is to be seen here, and where? ".repeat(40))
        assertEquals(emptyList<String>(), faults())
        phone.type("?")
        assertEquals(emptyList<String>(), faults())
        assertEquals(field, phone.question.height)
    }

    @Test
    fun theBarIsThereAgainWhenTheKeyboardIsClosed() {
        phone.addModel("first")
        phone.history(2)
        phone.open().draw()
        val content = phone.screen.findViewById<View>(android.R.id.content)
        val high = content.layoutParams.height
        val seen = listOf(146, -1, 146, -1).map {
            content.layoutParams.height = if (it < 0) high else phone.screen.dp(it)
            content.requestLayout()
            phone.draw()
            phone.screen.findViewById<View>(R.id.bar).isShown
        }
        assertEquals(listOf(false, true, false, true), seen)
        phone.menu(Words.ABOUT)
        assertTrue(phone.sees(Words.ABOUT))
    }

    @Test
    fun aPictureCanBeChosenWithoutScrollingThroughTheHistory() {
        phone.addModel("first")
        phone.history(10)
        phone.open().draw()
        val seen = Rect()
        val ways = phone.views().filter { it.isClickable && it !is EditText && phone.choosesPicture(it) }
        assertTrue("no way to a picture is seen", ways.any { it.getGlobalVisibleRect(seen) })
    }

    @Test
    @Config(qualifiers = "w1280dp-h800dp-land-mdpi")
    fun linesOnATabletAreNotTooLong() {
        phone.addModel()
        phone.history(2)
        phone.open().draw()
        val answers = phone.views().filterIsInstance<TextView>().filter { it.text.startsWith("A cat") }
        val widest = answers.maxOf { it.width }
        assertTrue("lines of ${dp(widest)} dp", dp(widest) <= 840)
    }
}
