package org.hydramobile.demo

import android.text.Editable
import android.text.TextWatcher
import android.widget.TextView
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category

/** What the thread of the screens is kept busy with. */
class MainThreadTest : PhoneTest() {
    private class Count(private val mark: String) : TextWatcher {
        var times = 0

        override fun beforeTextChanged(text: CharSequence, start: Int, count: Int, after: Int) = Unit

        override fun onTextChanged(text: CharSequence, start: Int, before: Int, count: Int) = Unit

        override fun afterTextChanged(text: Editable) {
            if (mark in text) times++
        }
    }

    private fun counted(mark: String): Count {
        val count = Count(mark)
        phone.allTexts().forEach { it.addTextChangedListener(count) }
        return count
    }

    @Test
    fun aCheckTellsNoMoreThanItsPercents() {
        phone.addModel { it.tooLarge(128) }
        phone.open()
        val count = counted("%")
        phone.ask("What is this?").beBusy(3)
        phone.settle()
        println("    ${count.times} updates for a check of 128 MiB")
        assertTrue("${count.times} updates for 128 MiB", count.times <= 110)
    }

    @Test
    fun anImportTellsNoMoreThanItsPercents() {
        val root = phone.bundleElsewhere { it.tooLarge(128) }.folder
        phone.open(Screen.MODELS)
        val count = counted("%")
        phone.chooseFolder(OtherApps.folder(FolderApp().also { it.root = root })).beBusy(3)
        phone.settle()
        println("    ${count.times} updates for an import of 128 MiB")
        assertTrue("${count.times} updates for 128 MiB, copied and not yet checked", count.times <= 110)
    }

    @Test
    fun tokensThatCameTogetherAreShownTogether() {
        phone.addModel { it.part("limits")["max_context"] = 2000 }
        Model.answers(1000)
        phone.open().allowTokens(1000)
        val count = counted("a")
        phone.ask("?").beBusy(3)
        phone.settle()
        assertTrue("${count.times} updates for an answer that was there at once", count.times <= 20)
    }

    @Test
    @Category(Slow::class)
    fun aLongHistoryIsNotBuiltAtOnce() {
        phone.open().draw()
        phone.back()
        val seconds = listOf(0, 500).map { turns ->
            phone.history(turns)
            phone.forget()
            val start = System.nanoTime()
            phone.open().draw()
            val took = (System.nanoTime() - start) / 1e9
            if (turns == 0) phone.back()
            took
        }
        val views = phone.views().size
        println("    $views views for 500 turns")
        assertTrue("$views views; the first frame took $seconds s with none and 500", views < 300)
    }

    @Test
    fun noFileIsTouchedOnTheThreadOfTheScreens() {
        phone.addModel()
        phone.history(3)
        val touched = DiskWatch.during {
            phone.forget()
            phone.open().ask("What is this?").settle()
            phone.removePicture().menu(Words.SPEED).back().menu(Words.MODELS).back().menu(Words.SETTINGS).back()
            phone.menu(Words.ABOUT).back().clear()
        }
        println("    ${touched.size} places touch files on the thread of the screens")
        assertEquals(emptyList<String>(), touched)
    }
}
