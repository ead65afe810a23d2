package org.hydramobile.demo

import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category

/** What screens show while others come and go. */
class ScreensTest : PhoneTest() {
    @Test
    fun theSpeedTestShowsItsResult() {
        phone.addModel()
        phone.open().menu(Words.SPEED).tap(Words.MEASURE).settle()
        phone.waitFor("a result is to be shown", 20) { phone.sees(Words.MEASURED) }
    }

    @Test
    fun theAnswerIsShownAfterTheSpeedTestWasLeft() {
        phone.addModel()
        phone.open().menu(Words.SPEED).back().ask("What is this?").settle()
        phone.waitFor("an answer is to be shown", 20) { phone.sees(Words.TOKENS_PER_SECOND) }
    }

    @Test
    fun stopIsOfferedAfterTheSpeedTestWasLeft() {
        phone.addModel()
        phone.open().menu(Words.SPEED).back()
        Model.loading.close()
        phone.ask("What is this?")
        phone.waitFor("Stop is to be there", 20) { phone.canTap(Words.STOP) }
    }

    @Test
    fun twoTapsOnModelsLeaveNoDeafScreen() {
        val root = phone.bundleElsewhere().folder
        phone.open().menu(Words.MODELS, follows = false).menu(Words.MODELS, follows = false).follow()
        if (phone.depth > 2) phone.back()
        phone.chooseFolder(OtherApps.folder(FolderApp().also { it.root = root })).settle()
        phone.waitFor("the import is to end", 20) { phone.sees(Words.IMPORTED) }
    }

    @Test
    fun aFailedQuestionIsNoNewsOfTheSpeedTest() {
        phone.addModel()
        Model.onLoad = { throw GenerationException(GenerationProblem.CANNOT_LOAD, "The file cannot be mapped.") }
        phone.open().ask("What is this?").settle()
        phone.waitUntilSeen("cannot be mapped").menu(Words.SPEED)
        assertFalse("${phone.texts()}", phone.sees("cannot be mapped"))
    }

    @Test
    fun aMeasurementSurvivesAQuestion() {
        phone.addModel()
        phone.open().menu(Words.SPEED).tap(Words.MEASURE).settle().back()
        phone.ask("What is this?").settle().menu(Words.SPEED)
        assertTrue("the result is gone: ${phone.texts()}", phone.sees(Words.MEASURED))
    }

    @Test
    fun aMeasurementStandsUnderItsModel() {
        phone.addModel("alpha")
        phone.addModel("beta")
        phone.open().menu(Words.MODELS).drain()
        phone.use("alpha").drain()
        phone.back().menu(Words.SPEED).tap(Words.MEASURE).settle().back()
        phone.menu(Words.MODELS).drain()
        phone.use("beta").drain()
        phone.back().menu(Words.SPEED)
        val isMeasured = phone.sees(Words.MEASURED)
        assertFalse("a result of alpha under beta: ${phone.texts()}", isMeasured && !phone.sees("alpha"))
    }

    @Test
    fun anAnswerTellsItsModel() {
        phone.addModel("alpha")
        phone.addModel("beta")
        phone.open().menu(Words.MODELS).drain()
        phone.use("alpha").drain()
        phone.back().ask("What is this?").settle()
        phone.menu(Words.MODELS).drain()
        phone.use("beta").drain()
        phone.back()
        assertTrue("nothing names the model that answered: ${phone.texts()}", phone.sees("alpha"))
    }

    @Test
    fun anAnswerKeepsItsPicture() {
        phone.addModel()
        phone.open().chooseColour(BLUE).ask("What is this?").settle()
        phone.chooseColour(RED)
        assertTrue("only ${phone.pictureColours().map { Integer.toHexString(it) }}", phone.seesColour(BLUE))
    }

    @Test
    fun theAnswerGoesOnWhileThePhoneIsTurned() {
        phone.addModel()
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa")
        phone.turn()
        assertTrue("${phone.texts()}", phone.sees("aaa") && phone.canTap(Words.STOP))
        Model.decoding.open()
        phone.settle()
        assertTrue("${phone.texts()}", phone.sees("a".repeat(20)))
    }

    @Test
    fun theAnswerIsThereAfterTheAppWasLeft() {
        phone.addModel()
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa").leave()
        Model.decoding.open()
        phone.settle().returnToApp()
        assertTrue("${phone.texts()}", phone.sees("a".repeat(20)) && phone.type("Next?").canTap(Words.ASK))
    }

    @Test
    fun aFailureIsStillToldAfterATurn() {
        phone.addModel()
        Model.onLoad = { throw GenerationException(GenerationProblem.CANNOT_LOAD, "The file cannot be mapped.") }
        phone.open().ask("What is this?").settle().waitUntilSeen("cannot be mapped").turn()
        assertTrue("${phone.texts()}", phone.sees("cannot be mapped"))
    }

    @Test
    fun theReadersPlaceIsKeptWhenThePhoneIsTurned() {
        phone.addModel()
        Model.answers(5)
        phone.history(30)
        phone.open()
        phone.draw()
        phone.list.setSelectionFromTop(5, -30)
        phone.draw()
        val before = phone.place()
        phone.turn()
        phone.draw()
        assertEquals("the place in the history", before, phone.place())
    }

    @Test
    @Category(Slow::class)
    fun everyScreenIsMadeAnewInEveryState() {
        phone.addModel()
        val root = phone.bundleElsewhere().folder
        for (work in listOf("idle", "loading", "answering", "failed", "importing")) {
            Model.reset()
            Model.answers(20)
            phone.open()
            when (work) {
                "loading" -> Model.loading.close().also { phone.app.host.unload() }.also { phone.ask("Why?") }

                "answering" -> Model.decoding.close(letting = 3).also { phone.ask("Why?") }

                "failed" -> {
                    phone.app.host.unload()
                    Model.onLoad = { throw GenerationException(GenerationProblem.CANNOT_LOAD, "Broken.") }
                    phone.ask("Why?").settle()
                }

                "importing" -> {
                    val app = FolderApp().also { it.root = root }
                    app.onOpen = { if ("decoder" in it) OtherApps.stall() }
                    phone.menu(Words.MODELS).chooseFolder(OtherApps.folder(app)).back()
                }
            }
            for (screen in listOf(Screen.ANSWER, Screen.MODELS, Screen.SETTINGS, Screen.SPEED)) {
                if (screen != Screen.ANSWER) phone.open(screen)
                phone.turn().leave().returnToApp().turn()
                assertTrue("$work, $screen: nothing is shown", phone.texts().isNotEmpty())
                phone.draw()
                if (screen != Screen.ANSWER) phone.back()
            }
            Model.reset()
            OtherApps.release()
            phone.app.chat.stop()
            phone.settle().back()
        }
        assertEquals("crashes", emptyList<Throwable>(), phone.crashes)
    }

    @Test
    @Category(Slow::class)
    fun everyScreenReturnsAfterTheProcessDiedInEveryState() {
        phone.addModel()
        val root = phone.bundleElsewhere().folder
        for (screen in listOf(Screen.ANSWER, Screen.MODELS, Screen.SETTINGS, Screen.SPEED)) {
            for (work in listOf("idle", "loading", "answering", "measuring", "importing")) {
                phone.open()
                when (work) {
                    "loading" -> Model.loading.close().also { phone.ask("Why?") }

                    "answering" -> Model.decoding.close(letting = 3).also { phone.ask("Why?") }

                    "measuring" -> {
                        Model.decoding.close(letting = 3)
                        phone.menu(Words.SPEED).tap(Words.MEASURE).back()
                    }

                    "importing" -> {
                        val app = FolderApp().also { it.root = root }
                        app.onOpen = { if ("decoder" in it) OtherApps.stall() }
                        phone.menu(Words.MODELS).chooseFolder(OtherApps.folder(app)).back()
                    }
                }
                if (screen != Screen.ANSWER) phone.open(screen)
                phone.dieAndReturn()
                OtherApps.release()
                phone.drain()
                assertTrue("$work, $screen: nothing is shown", phone.texts().isNotEmpty())
                phone.back()
            }
        }
        assertEquals("crashes", emptyList<Throwable>(), phone.crashes)
    }

    @Test
    fun measureWithoutAModelSaysSo() {
        phone.open().menu(Words.SPEED)
        val before = phone.texts()
        if (!phone.canTap(Words.MEASURE)) return
        phone.tap(Words.MEASURE)
        assertTrue("a tap on Measure changes nothing: $before", phone.texts() != before || phone.toast() != null)
    }

    @Test
    fun backAndAgainWhileItAnswers() {
        phone.addModel()
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa")
        phone.back().open()
        assertTrue(phone.sees("aaa"))
        Model.decoding.open()
        phone.settle()
        assertTrue(phone.sees("a".repeat(20)))
    }

    @Test
    fun twoTapsOnSettingsOpenOneScreen() {
        phone.open().menu(Words.SETTINGS, follows = false).menu(Words.SETTINGS, follows = false).follow()
        assertEquals("screens", 2, phone.depth)
    }

    @Test
    fun aModelThatBreaksEachTimeDoesNotKeepTheAppFromStarting() {
        phone.addModel()
        Model.onLoad = { throw UnsatisfiedLinkError("broken") }
        phone.open().ask("What is this?").settle().dieAndReturn()
        phone.drain()
        assertEquals(emptyList<Throwable>(), phone.crashes)
        assertTrue(phone.type("Again?").canTap(Words.ASK))
    }
}
