package org.hydramobile.demo

import org.hydramobile.core.StopSignal
import org.hydramobile.screens.Listener
import org.hydramobile.screens.Told
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category
import java.util.concurrent.atomic.AtomicBoolean

/** What the thread of the screens is kept busy with. */
class MainThreadTest : PhoneTest() {
    /** Counts what screens are told by [told], of what [isMeant]. */
    private class Count<S : Any>(told: Told<S>, private val isMeant: (S) -> Boolean) : Listener<S> {
        var times = 0

        init {
            told.listen(this)
        }

        override fun onState(state: S) {
            if (isMeant(state)) times++
        }
    }

    @Test
    fun aCheckTellsNoMoreThanItsPercents() {
        phone.addModel { it.tooLarge(128) }
        phone.open()
        val count = Count(phone.app.chat.told) { it.isBusy }
        val isOver = AtomicBoolean()
        phone.ask("What is this?")
        phone.app.host.run(StopSignal(), phone.models) { isOver.set(true) }
        // The check has ended before the screen looks again: what was told meanwhile is one piece of news.
        phone.beBusyUntil { isOver.get() }.settle()
        println("    ${count.times} updates for a check of 128 MiB")
        assertTrue("${count.times} updates for 128 MiB", count.times in 1..30)
    }

    @Test
    fun anImportTellsNoMoreThanItsPercents() {
        val root = phone.bundleElsewhere { it.tooLarge(128) }.folder
        phone.open(Screen.MODELS)
        val count = Count(phone.app.imports.told) { it.isBusy }
        phone.chooseFolder(OtherApps.folder(FolderApp().also { it.root = root })).settle()
        println("    ${count.times} updates for an import of 128 MiB")
        assertTrue("${count.times} updates for 128 MiB, copied and checked", count.times in 1..110)
    }

    @Test
    fun tokensThatCameTogetherAreShownTogether() {
        phone.addModel { it.part("limits")["max_context"] = 2000 }
        Model.answers(1000)
        phone.open().allowTokens(1000)
        val count = Count(phone.app.chat.told) { it.live?.text.orEmpty().isNotEmpty() }
        Model.decoding.close(letting = 990)
        phone.ask("?").beBusyUntil { Model.decoding.reached }
        Model.decoding.open()
        phone.settle()
        println("    ${count.times} updates for 1,000 tokens that were there at once")
        assertTrue("${count.times} updates for an answer that was there at once", count.times in 1..20)
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
