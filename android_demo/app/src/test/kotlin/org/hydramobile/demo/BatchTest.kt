package org.hydramobile.demo

import android.content.Intent
import org.hydramobile.core.BenchmarkFault
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.GenerationProblem
import org.hydramobile.screens.Problem
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File

/** The batch of questions that a host starts through adb. */
class BatchTest : PhoneTest() {
    private fun files(count: Int = 3): Pair<File, File> {
        val requests = File(phone.app.filesDir, "requests.jsonl")
        val rest = """"question": "What is this?", "max_new_tokens": 8}"""
        requests.writeText((0 until count).joinToString("") { "{\"id\": \"$it\", $rest\n" })
        return requests to File(phone.app.filesDir, "answers.jsonl")
    }

    private fun intent(requests: File, answers: File, folder: File) =
        Intent().putExtra("requests", requests.path).putExtra("answers", answers.path).putExtra("bundle", folder.path)

    private fun start(requests: File, answers: File, folder: File) =
        phone.open(Screen.BATCH, intent(requests, answers, folder))

    private fun ends(answers: File) =
        answers.takeIf { it.isFile }?.readLines().orEmpty().filter { it.contains("\"end\"") }

    @Test
    fun aBatchEndsWithItsEndLine() {
        val (requests, answers) = files()
        val model = phone.addModel("first")
        start(requests, answers, model.folder)
        phone.comes(10) { ends(answers).isNotEmpty() }
        assertEquals("${ends(answers)}", 1, ends(answers).size)
        assertTrue("${ends(answers)}", ends(answers).single().contains("\"answered\""))
    }

    @Test
    fun aBatchWhoseLibraryIsMissingEndsWithItsEndLine() {
        val (requests, answers) = files()
        val model = phone.addModel("first")
        Model.onLoad = { throw UnsatisfiedLinkError("no such library") }
        start(requests, answers, model.folder)
        phone.comes(20) { ends(answers).isNotEmpty() }
        assertEquals("the app would have ended", emptyList<Throwable>(), phone.crashes)
        assertEquals("end lines", 1, ends(answers).size)
    }

    @Test
    fun aBatchRunsOnAFullDiskWhenItsModelIsThere() {
        phone.freeDisk(1L shl 19)
        val (requests, answers) = files()
        val model = phone.addModel("first")
        start(requests, answers, model.folder)
        phone.comes(10) { ends(answers).isNotEmpty() }
        assertTrue("${ends(answers)}", ends(answers).single().contains("\"answered\""))
    }

    @Test
    fun aBatchWhoseScreenIsMadeAnewAnswersEachQuestionOnce() {
        val (requests, answers) = files(6)
        val model = phone.addModel("first")
        Model.decoding.close(letting = 12)
        start(requests, answers, model.folder)
        phone.waitFor("the batch is to run") { Model.decoding.reached }
        phone.turn()
        Model.decoding.open()
        phone.comes(10) { ends(answers).any { it.contains("\"answered\"") } }
        Thread.sleep(500)
        phone.idle()
        val lines = answers.readLines()
        val ids = lines.mapNotNull { Regex("\"id\": ?\"(\\d)\"").find(it)?.groupValues?.get(1) }
        assertEquals("answers, by id", ids.distinct().sorted(), ids.sorted())
        assertEquals("ends that a host sees", 1, ends(answers).size)
        assertTrue("the last line", lines.last().contains("\"answered\""))
    }

    @Test
    fun aBatchGoesOnAfterTheEndOfItsProcess() {
        val (requests, answers) = files(6)
        val model = phone.addModel("first")
        Model.decoding.close(letting = 12)
        start(requests, answers, model.folder)
        phone.waitFor("the batch is to run") { Model.decoding.reached }
        val before = answers.readLines().count { "\"id\"" in it }
        phone.dieAndReturn()
        phone.comes(10) { ends(answers).isNotEmpty() }
        assertTrue("nothing was answered before", before in 1..5)
        val ids = answers.readLines().mapNotNull { Regex("\"id\": ?\"(\\d)\"").find(it)?.groupValues?.get(1) }
        assertEquals((0 until 6).map { "$it" }, ids.distinct().sorted())
        assertTrue("${ends(answers)}", ends(answers).last().contains("\"answered\""))
    }

    @Test
    fun aSecondBatchWhileOneRunsIsAnswered() {
        val (requests, answers) = files()
        val model = phone.addModel("first")
        Model.decoding.close(letting = 2)
        start(requests, answers, model.folder)
        phone.waitFor("the batch is to run") { Model.decoding.reached }
        val second = File(phone.app.filesDir, "second.jsonl")
        phone.controller.newIntent(intent(requests, second, model.folder))
        Model.decoding.open()
        phone.comes(20) { ends(answers).isNotEmpty() && ends(second).isNotEmpty() }
        assertEquals("the second host waits for an end that never comes", 1, ends(second).size)
    }

    @Test
    fun aBatchDoesNotEndAPersonsAnswerInSilence() {
        val (requests, answers) = files()
        val model = phone.addModel("first")
        Model.answers(30)
        Model.decoding.close(letting = 5)
        phone.open().ask("What is this?").waitUntilSeen("aaa")
        start(requests, answers, model.folder)
        Model.decoding.open()
        phone.comes(10) { ends(answers).isNotEmpty() }
        phone.back().settle()
        assertTrue("${phone.texts()}", phone.sees("stopped") || phone.sees("a".repeat(30)))
    }

    @Test
    fun aBatchThatEndsEarlySaysWhyInTheAppsWords() {
        val (requests, answers) = files()
        requests.appendText(requests.readLines().first())
        start(requests, answers, phone.addModel("first").folder)
        phone.waitFor("the reason is to be seen") { phone.sees("the id 0 stands there twice") }
        assertTrue("${phone.texts()}", phone.sees("Ended early"))
    }

    /** No problem is left to the sentence for what nobody foresaw. */
    @Test
    fun everyProblemHasWordsOfItsOwn() {
        val kinds = BundleProblem.values().toList() - BundleProblem.CANCELLED + GenerationProblem.values() +
            BenchmarkFault.values()
        phone.open()
        val unforeseen = phone.screen.worded(Problem(Problem.FAILED, "x", "y", "z"))
        val without = kinds.filter { phone.screen.worded(Problem((it as Enum<*>).name, "x", "y", "z")) == unforeseen }
        assertEquals(emptyList<Any>(), without)
    }

    @Test
    fun aBatchTurnsTheScreenOnOverTheKeyguard() {
        val (requests, answers) = files()
        start(requests, answers, phone.addModel("first").folder)
        val info = phone.app.packageManager.getActivityInfo(phone.screen.componentName, 0)
        // ActivityInfo.FLAG_SHOW_WHEN_LOCKED and FLAG_TURN_SCREEN_ON, hidden constants.
        val shows = info.flags and 0x800000 != 0
        val turns = info.flags and 0x1000000 != 0
        assertTrue("shown when locked: $shows, turns the screen on: $turns", shows && turns)
    }
}
