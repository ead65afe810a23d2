package org.hydramobile.demo

import android.os.Bundle
import android.os.Parcel
import android.view.KeyEvent
import android.view.View
import android.view.WindowManager
import android.view.inputmethod.EditorInfo
import android.widget.TextView
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category

/** Asking, stopping, failing, reading. */
class QuestionsTest : PhoneTest() {
    private val failure = GenerationException(GenerationProblem.CANNOT_LOAD, "The file cannot be mapped.")

    /** In the field or among what was asked: nobody has to type it again. */
    private fun isKept(question: String) = phone.question.text.toString() == question || phone.sees(question)

    @Test
    fun aQuestionThatFailedIsKept() {
        phone.addModel()
        Model.onLoad = { throw failure }
        phone.open().ask("What is this?").settle()
        assertTrue("the question is gone: ${phone.texts()}", isKept("What is this?"))
    }

    @Test
    fun aQuestionThatWasStoppedWhileTheModelWasCheckedIsKept() {
        phone.addModel { it.tooLarge() }
        phone.open().ask("What is this?")
        phone.tap(Words.STOP).settle()
        assertTrue("the question is gone: ${phone.texts()}", isKept("What is this?"))
    }

    @Test
    fun aDoubleTapOnAskAsksOnce() {
        phone.addModel()
        Model.answers(10)
        phone.open().type("What is this?")
        val button = phone.view(Words.ASK)
        button.performClick()
        button.performClick()
        phone.settle()
        assertTrue("neither answer nor reason: ${phone.texts()}", phone.sees("aaaaaaaaaa"))
    }

    @Test
    fun whatWasAnsweredBeforeAFailureIsKept() {
        phone.addModel()
        Model.answers(20)
        var calls = 0
        Model.onDecode = { if (++calls > 10) throw GenerationException(GenerationProblem.RUNTIME_FAILED, "It broke.") }
        phone.open().ask("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees("It broke") && phone.sees("aaaa"))
    }

    @Test
    fun aQuestionThatWasBeingAnsweredSurvivesTheProcess() {
        phone.addModel()
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa").dieAndReturn()
        phone.settle()
        assertTrue("the question is gone: ${phone.texts()}", isKept("What is this?"))
    }

    @Test
    fun sendWhileItAnswersKeepsTheNextQuestion() {
        phone.addModel()
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").type("And that?")
        phone.question.onEditorAction(EditorInfo.IME_ACTION_SEND)
        phone.idle()
        assertEquals("And that?", phone.question.text.toString())
    }

    @Test
    fun oneCanReadBackWhileItAnswers() {
        phone.addModel()
        phone.history(20)
        Model.answers(30)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa")
        phone.draw()
        phone.list.setSelectionFromTop(5, -30)
        phone.draw()
        val before = phone.place()
        Model.decoding.open()
        phone.settle()
        phone.draw()
        assertEquals("the place in the history", before, phone.place())
    }

    @Test
    fun textThatIsSelectedStaysSelectedWhileItAnswers() {
        phone.addModel()
        phone.history(20)
        Model.answers(60)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa")
        phone.draw()
        phone.views().filterIsInstance<TextView>().last { it.text.startsWith("A cat") }.performLongClick()
        phone.idle()
        phone.tap("Select text")
        val old = phone.views().filterIsInstance<TextView>().last { it.text.startsWith("A cat") }
        assertTrue("the text can be selected", old.isTextSelectable)
        old.requestFocus()
        android.text.Selection.setSelection(old.text as android.text.Spannable, 2, 5)
        Model.decoding.open()
        Model.decoding.close(letting = 20)
        phone.waitUntilSeen("a".repeat(15))
        phone.draw()
        assertEquals("what is selected", "2 to 5", "${old.selectionStart} to ${old.selectionEnd}")
        assertTrue("the focus is gone", old.isFocused)
    }

    @Test
    fun aLongQuestionIsSeenWhole() {
        phone.addModel()
        phone.open().type("What is this? ".repeat(10))
        phone.draw()
        assertTrue("${phone.question.lineCount} line", phone.question.lineCount > 1)
    }

    @Test
    fun aScreenReaderIsToldTheEnd() {
        phone.addModel()
        Model.answers(10)
        phone.open().ask("What is this?").settle()
        val told = phone.views().filterIsInstance<TextView>()
            .filter { it.accessibilityLiveRegion != View.ACCESSIBILITY_LIVE_REGION_NONE }.map { it.text.toString() }
        assertTrue("live regions say $told", told.any { it.isNotBlank() })
    }

    @Test
    fun theScreenStaysOnWhileItAnswers() {
        phone.addModel()
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitFor("it is to answer") { Model.decoding.reached }
        assertTrue("nothing keeps the screen on", phone.keepsScreenOn())
    }

    @Test
    @Category(Slow::class)
    fun aVeryLongQuestionIsRefusedInWords() {
        phone.addModel()
        phone.open().type("What is this? ".repeat(7200))
        // Tokens are counted with the model's files: a tap that waited for them would not come back.
        Model.loading.close()
        phone.tap(Words.ASK)
        assertTrue("the tap waited", phone.isBusy)
        Model.loading.open()
        phone.settle(60)
        val texts = phone.texts().map { it.take(80) }
        assertTrue("no reason: $texts", texts.any { "The prompt has" in it })
    }

    @Test
    fun aLongTextThatIsPastedIsNotCutInSilence() {
        phone.open().type("x".repeat(20_000))
        val isWhole = phone.question.text.length == 20_000
        assertTrue("${phone.question.text.length} of 20000 characters are left", isWhole || phone.toast() != null)
    }

    @Test
    fun leavingWithALongTextFitsIntoWhatTheSystemKeeps() {
        phone.open().type("x".repeat(600_000))
        // All of it, in one word, takes minutes to lay out.
        assertTrue("${phone.question.text.length} characters are laid out", phone.question.text.length < 100_000)
        assertTrue("nothing says that it was cut", phone.toast() != null)
        val state = Bundle()
        phone.controller.pause().stop().saveInstanceState(state)
        val parcel = Parcel.obtain()
        state.writeToParcel(parcel, 0)
        val size = parcel.dataSize()
        parcel.recycle()
        assertTrue("$size bytes of saved state; Android ends a process that gives more than about 1 MB", size < 500_000)
    }

    @Test
    fun rightToLeftAndEmojiComeBackAsTheyWereAsked() {
        phone.addModel()
        val text = "\u0645\u0627 \u0647\u0630\u0627\u061F \uD83D\uDC69\u200D\uD83D\uDD2C \u05E9\u05DC\u05D5\u05DD"
        phone.open().ask(text).settle()
        assertTrue("${phone.texts()}", phone.sees(text))
        phone.dieAndReturn()
        assertTrue("${phone.texts()}", phone.sees(text))
    }

    @Test
    fun memoryIsGivenBackAfterAnAnswerThatWasRunningWhenItWasAskedFor() {
        phone.addModel()
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa").leave().trim()
        Model.decoding.open()
        phone.settle()
        phone.waitFor("the model is to be closed", 20) { Model.closed == 1 }
    }

    @Test
    fun memoryIsGivenBackWhenNothingIsDone() {
        phone.addModel()
        phone.open().ask("What is this?").settle().leave().trim()
        phone.waitFor("the model is to be closed", 20) { Model.closed == 1 }
    }

    @Test
    fun theSettingsCanBeOpenedWhileTheModelLoads() {
        phone.addModel()
        phone.open()
        Model.loading.close()
        phone.ask("What is this?").menu(Words.SETTINGS)
        assertTrue("${phone.texts()}", phone.sees("Longest answer"))
        phone.back()
        Model.loading.open()
        phone.settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    fun clearingLeavesNothingOfTheConversation() {
        phone.addModel()
        Model.onLoad = { throw failure }
        phone.open().ask("What is this?").settle().waitUntilSeen("cannot be mapped").clear()
        assertFalse("${phone.texts()}", phone.sees("cannot be mapped"))
    }

    @Test
    fun clearingWhileItAnswersLeavesNoOldAnswer() {
        phone.addModel()
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa").clear()
        Model.decoding.open()
        phone.settle()
        assertFalse("${phone.texts()}", phone.sees("What is this?"))
    }

    @Test
    fun clearingAsksFirst() {
        phone.history(3)
        phone.open().askToClear()
        val asked = org.robolectric.shadows.ShadowAlertDialog.getLatestAlertDialog() != null
        assertTrue("three turns are gone after one tap", asked || phone.sees("A cat"))
    }

    @Test
    fun theEnterKeyOfAKeyboardSends() {
        phone.addModel()
        phone.open().type("What is this?")
        phone.question.requestFocus()
        phone.screen.dispatchKeyEvent(KeyEvent(KeyEvent.ACTION_DOWN, KeyEvent.KEYCODE_ENTER))
        phone.screen.dispatchKeyEvent(KeyEvent(KeyEvent.ACTION_UP, KeyEvent.KEYCODE_ENTER))
        phone.settle()
        assertTrue("${phone.texts()} focus ${phone.screen.currentFocus}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    fun stopWorksWithTheNextPictureChosen() {
        phone.addModel()
        Model.answers(40)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa").chooseColour(BLUE).type("And this?").tap(Words.STOP)
        Model.decoding.open()
        phone.settle()
        assertTrue("${phone.texts()}", phone.sees("stopped"))
        assertEquals("And this?", phone.question.text.toString())
        Model.answers(3)
        phone.tap(Words.ASK).settle()
        assertTrue("${phone.texts()}", phone.texts().any { it == "aa" || it == "aaa" })
    }

    @Test
    fun failingTurnsAreNotForgottenInTheHistory() {
        phone.addModel()
        Model.onLoad = { throw GenerationException(GenerationProblem.CANNOT_LOAD, "Broken.") }
        phone.open().ask("First question").settle()
        Model.onLoad = {}
        phone.ask("Second question").settle()
        assertTrue("${phone.texts()}", phone.sees("First question"))
    }

    @Test
    fun aHistoryThatCannotBeKeptIsToldOf() {
        phone.addModel()
        phone.blockHistory()
        phone.open().ask("What is this?").settle()
        val isTold = phone.toast() != null || listOf("cannot be", "not kept", "not saved").any { phone.sees(it) }
        assertTrue("nothing tells that the answer will be gone after a restart: ${phone.texts()}", isTold)
    }
}
