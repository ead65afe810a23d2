package org.hydramobile.demo

import android.view.View
import android.widget.EditText
import android.widget.FrameLayout
import android.widget.ImageButton
import android.widget.LinearLayout
import android.widget.TextView
import android.widget.Toolbar
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import kotlin.math.abs

/** Every screen in every state, for every reader: contrast, targets, names, nothing cut or out of reach. */
class ViewsTest : PhoneTest() {
    private fun check(scenes: List<Scene> = Scenes.ALL) {
        val faults = ArrayList<String>()
        var texts = 0
        var targets = 0
        var contrast = 21.0
        for (each in scenes) {
            scene(each) {
                for (window in listOf(phone.screen.window.decorView) + phone.windows().filter { it.isShown }) {
                    val found = Checks(window, Checks.drawn(window)).findings()
                    texts += found.texts
                    targets += found.targets
                    contrast = minOf(contrast, found.leastContrast)
                    found.faults.distinct().forEach { faults.add("${each.name}: $it") }
                }
                order()?.let { faults.add("${each.name}: $it") }
            }
        }
        println("    ${scenes.size} states, $texts texts, $targets targets, contrast %.2f at least".format(contrast))
        assertEquals(faults.joinToString("\n"), 0, faults.size)
    }

    /** What TalkBack reads first is the bar. */
    private fun order(): String? {
        val content = phone.screen.findViewById<View>(android.R.id.content)
        val first = ArrayList<View>()
        Checks.each(content) { if ((it is TextView && it.text.isNotBlank()) || it is ImageButton) first.add(it) }
        val isInBar = generateSequence(
            first.firstOrNull()?.let {
                it as View
            },
        ) { it.parent as? View }.any { it is Toolbar }
        return if (isInBar) null else "the bar is not read first, but ${first.firstOrNull()?.let { Checks.name(it) }}"
    }

    private val few = Scenes.ALL.filter { it.name in FEW }

    @Test
    fun light() = check(few)

    @Test
    @Config(qualifiers = "w320dp-h568dp-xhdpi", fontScale = 2.0f)
    fun twiceTheLettersOnASmallPhone() = check(few)

    @Test
    @Category(Slow::class)
    fun everyState() = check()

    @Test
    @Category(Slow::class)
    @Config(qualifiers = "w411dp-h891dp-night-xhdpi")
    fun dark() = check()

    @Test
    @Category(Slow::class)
    @Config(qualifiers = "w320dp-h568dp-xhdpi", fontScale = 2.0f)
    fun everyStateWithTwiceTheLetters() = check()

    @Test
    @Category(Slow::class)
    @Config(qualifiers = "ar-ldrtl-w411dp-h891dp-xhdpi")
    fun rightToLeft() = check()

    @Test
    @Category(Slow::class)
    @Config(qualifiers = "w891dp-h411dp-land-xhdpi")
    fun landscape() = check()

    @Test
    @Category(Slow::class)
    @Config(qualifiers = "w411dp-h360dp-xhdpi")
    fun splitScreen() = check()

    @Test
    @Category(Slow::class)
    @Config(qualifiers = "w411dp-h500dp-xhdpi")
    fun aboveTheKeyboard() = check()

    @Test
    @Category(Slow::class)
    @Config(qualifiers = "w1280dp-h800dp-land-mdpi")
    fun tablet() {
        check()
        scene(Scenes.ALL.first { it.name == "chat-answered" }) {
            val widest = phone.views().filterIsInstance<TextView>().maxOf { it.width }
            assertTrue("lines of $widest dp", widest <= 640)
        }
    }

    /** In a language whose words wear accents no plain word is left on any screen: each is of a resource. */
    @Test
    @Category(Slow::class)
    @Config(qualifiers = "en-rXA-w411dp-h891dp-xhdpi")
    fun everyWordIsOfAResource() {
        val data = setOf(R.id.question, R.id.turn_question, R.id.turn_answer, R.id.failed_answer, R.id.coming)
        val plain = ArrayList<String>()
        var texts = 0
        for (each in Scenes.ALL) {
            scene(each) {
                for (view in phone.views()) {
                    val field = view as? TextView
                    // A person's questions, and the model's answers.
                    val own = field?.text.takeIf { view.id !in data }
                    for (text in listOfNotNull(own, field?.hint, view.contentDescription).map { "$it" }) {
                        if (text.isNotBlank()) texts++
                        val words = Pseudo.plainWords(Scenes.withoutData(text))
                        if (words.isNotEmpty()) plain.add("${each.name}: ${Checks.name(view)} says $words in $text")
                    }
                }
            }
        }
        assertTrue("$texts texts", texts > Scenes.ALL.size * 5)
        assertEquals(plain.distinct().joinToString("\n"), 0, plain.size)
    }

    /** In a language from right to left every view lies as far from the right as it lay from the left. */
    @Test
    @Category(Slow::class)
    fun mirrored() {
        val scenes = Scenes.ALL.filter {
            it.name in
                listOf("chat-empty", "chat-answered", "models", "settings", "speed", "about")
        }
        val usual = scenes.map { scene(it) { places(false) } }
        RuntimeEnvironment.setQualifiers("+iw-ldrtl")
        for ((index, each) in scenes.withIndex()) {
            val turned = scene(each) { places(true) }
            assertEquals(each.name, usual[index].map { it.first }, turned.map { it.first })
            val worst = turned.indices.maxByOrNull { abs(turned[it].second - usual[index][it].second) }!!
            val off = abs(turned[worst].second - usual[index][worst].second)
            assertTrue("${each.name}: ${turned[worst].first} is $off pixels off", off <= 2)
        }
    }

    private fun places(isMirrored: Boolean): List<Pair<String, Int>> {
        val found = ArrayList<Pair<String, Int>>()
        val place = IntArray(2)
        val wide = phone.screen.window.decorView.width
        Checks.each(phone.screen.findViewById(android.R.id.content)) {
            it.getLocationInWindow(place)
            // Words of another language are as wide as they are: their boxes are compared where they fill a place.
            if (it !is TextView) found.add(Checks.name(it) to if (isMirrored) wide - place[0] - it.width else place[0])
        }
        return found
    }

    /** The checks find what is planted. */
    @Test
    fun plantedFaultsAreFound() {
        phone.open(Screen.ABOUT)
        val column = LinearLayout(phone.screen).also { it.orientation = LinearLayout.VERTICAL }
        fun add(view: View, width: Int, height: Int) = column.addView(
            view,
            LinearLayout.LayoutParams(
                phone.screen.dp(width),
                if (height <
                    0
                ) {
                    height
                } else {
                    phone.screen.dp(height)
                },
            ),
        )
        fun words(text: String, color: Long = 0xFF000000) = TextView(phone.screen).also {
            it.text = text
            it.textSize = 16f
            it.setTextColor(color.toInt())
        }
        add(words("Too pale to be read", 0xFFB0B8BA), 300, -2)
        add(words("Lower than its letters"), 300, 8)
        add(words("Incomprehensibilities"), 60, -2)
        add(
            words("One line that ends in dots").also {
                it.setSingleLine()
                it.ellipsize =
                    android.text.TextUtils.TruncateAt.END
            },
            80, -2,
        )
        add(words("Wider than the screen is"), 500, -2)
        add(ImageButton(phone.screen).also { it.setOnClickListener { } }, 40, 40)
        add(EditText(phone.screen).also { it.hint = "Narrow" }, 60, 48)
        phone.screen.setContentView(FrameLayout(phone.screen).also { it.addView(column) })
        phone.draw()
        val window = phone.screen.window.decorView
        val faults = Checks(window, Checks.drawn(window)).findings().faults
        val kinds =
            "contrast,cut below,a word is broken,cut by dots,beyond the screen,target,no label,no description,a field is"
                .split(',')
        assertEquals("$faults", emptyList<String>(), kinds.filter { kind -> faults.none { it.startsWith(kind) } })
    }

    private companion object {
        val FEW = setOf("chat-no-model", "chat-picked", "chat-answered", "models", "settings", "speed", "about")
    }
}
