package org.hydramobile.demo

import org.hydramobile.core.StopSignal
import org.hydramobile.screens.Listener
import org.hydramobile.screens.Told
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicBoolean

/** What the thread of the screens is kept busy with. */
class MainThreadTest : PhoneTest() {
    private companion object {
        /** For something that was over before the screen looked: that it is asked, what came, its end. */
        const val FEW = 8
    }

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
        val asked = CountDownLatch(1)
        val isOver = AtomicBoolean()
        // The check begins and ends while the screen does not look: what is told meanwhile is one piece of news.
        phone.app.host.run(StopSignal(), phone.models) { asked.await() }
        phone.ask("What is this?")
        phone.app.host.run(StopSignal(), phone.models) { isOver.set(true) }
        asked.countDown()
        phone.beBusyUntil { isOver.get() }.settle()
        println("    ${count.times} updates for a check of 128 MiB")
        assertTrue("${count.times} updates for 128 MiB", count.times in 1..FEW)
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
        // From the first token to the last the screen does not look, however slow the machine is.
        Model.decoding.close()
        phone.ask("?")
        Model.decoding.open()
        phone.beBusyUntil { Model.decoding.passed >= 1000 }.settle()
        println("    ${count.times} updates for 1,000 tokens that were there at once")
        assertTrue("${count.times} updates for an answer that was there at once", count.times in 1..FEW)
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
        // The first screen of a process loads Android's own resources from the jars of this harness.
        phone.open()
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
