package org.hydramobile.demo

import android.content.ClipData
import android.content.Intent
import android.net.Uri
import android.view.View
import org.hydramobile.core.Json
import org.hydramobile.screens.Turn
import org.hydramobile.screens.TurnEnd
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** What comes in the middle of something else, twice, or out of its order. */
class MeanwhileTest : PhoneTest() {
    private fun zip(change: (ZipOutputStream) -> Unit = {}): Uri {
        val folder = phone.bundleElsewhere().folder
        val bytes = ByteArrayOutputStream()
        ZipOutputStream(bytes).use { zip ->
            change(zip)
            for (file in folder.walkTopDown().filter { it.isFile }) {
                zip.putNextEntry(ZipEntry("bundle/${file.relativeTo(folder).path}"))
                file.inputStream().use { it.copyTo(zip) }
            }
        }
        return OtherApps.picture(bytes.toByteArray())
    }

    private fun stuckFolder(): Uri {
        val app = FolderApp().also { it.root = phone.bundleElsewhere("slow").folder }
        app.onOpen = { if ("decoder" in it) OtherApps.stall() }
        return OtherApps.folder(app)
    }

    private fun share(vararg pictures: Uri): Intent {
        val intent = Intent(Intent.ACTION_SEND).setType("image/jpeg")
        pictures.firstOrNull()?.let { intent.putExtra(Intent.EXTRA_STREAM, it) }
        if (pictures.size > 1) {
            intent.clipData = ClipData.newRawUri("", pictures[0]).also { clip ->
                pictures.drop(1).forEach { clip.addItem(ClipData.Item(it)) }
            }
        }
        return intent
    }

    private fun answering() {
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.ask("What is this?").waitUntilSeen("aaa")
    }

    // Models.

    @Test
    fun anotherModelThatIsDeletedLeavesTheAnswerAlone() {
        phone.addModel("alpha")
        phone.addModel("beta")
        phone.open().menu(Words.MODELS).use("alpha").back()
        answering()
        phone.menu(Words.MODELS).drain()
        phone.tap(phone.deleteButton("beta")).confirm()
        phone.waitFor("beta to be gone, though alpha answers") { phone.sees("alpha") && !phone.sees("beta") }
        Model.decoding.open()
        phone.settle().back()
        assertTrue("${phone.texts()}", phone.sees("a".repeat(20)) && !phone.sees("stopped"))
    }

    @Test
    fun aModelThatIsDeletedWhileItIsMeasuredEndsTheTest() {
        phone.addModel("first")
        Model.decoding.close(letting = 5)
        phone.open().menu(Words.SPEED).tap(Words.MEASURE).waitFor("it is to measure") { Model.decoding.reached }
        phone.back().menu(Words.MODELS).drain()
        phone.tap(phone.deleteButton("first")).confirm()
        Model.decoding.open()
        phone.settle().waitUntilSeen(Words.NO_MODELS).back()
        assertTrue("${phone.texts()}", phone.sees(Words.NO_MODEL))
    }

    @Test
    fun aModelThatIsDeletedWhileItsQuestionWaitsIsNotAsked() {
        phone.addModel("alpha")
        phone.addModel("beta")
        phone.open().menu(Words.MODELS).use("alpha").back()
        Model.decoding.close(letting = 5)
        phone.menu(Words.SPEED).tap(Words.MEASURE).waitFor("alpha is to be measured") { Model.decoding.reached }
        phone.back().menu(Words.MODELS).use("beta").back().ask("What is this?")
        phone.menu(Words.MODELS).drain()
        phone.tap(phone.deleteButton("beta")).confirm()
        phone.waitFor("beta to be gone, though alpha is measured") { !phone.sees("beta") }
        Model.decoding.open()
        phone.settle().back()
        assertEquals(listOf("alpha with 0"), Model.loads.toList())
        assertTrue("${phone.texts()}", phone.sees("What is this?") && phone.sees("stopped"))
    }

    // Imports.

    @Test
    fun aZipThatIsOpenedDuringAnImportIsToldOf() {
        phone.open().menu(Words.MODELS).chooseFolder(stuckFolder()).back()
        phone.controller.newIntent(Intent(Intent.ACTION_VIEW).setDataAndType(zip(), "application/zip"))
        phone.follow()
        assertTrue("${phone.toast()}", phone.toast().orEmpty().contains("Another model is being added"))
        OtherApps.release()
        phone.settle().waitUntilSeen(Words.IMPORTED)
        assertEquals(1, phone.models.listFiles()!!.count { !it.name.startsWith(".") })
    }

    @Test
    fun anImportGoesOnWhenItsScreenIsTurnedAndLeft() {
        phone.open().menu(Words.MODELS).chooseFolder(stuckFolder())
        phone.waitForCopy()
        val before = phone.texts().first { "%" in it }
        phone.turn()
        assertTrue("${phone.texts()}", phone.sees(before))
        phone.back().back()
        OtherApps.release()
        phone.comes { phone.app.imports.told.now.imported != null }
        phone.open().menu(Words.MODELS)
        assertTrue("${phone.texts()}", phone.sees(Words.IMPORTED) && phone.sees("bundle"))
    }

    @Test
    fun aZipWithNamesThatLeaveItsFolderWritesNothingElsewhere() {
        val evil = zip { zip ->
            for (name in listOf("../../evil.txt", "/evil.txt", "bundle/../../evil.txt")) {
                zip.putNextEntry(ZipEntry(name))
                zip.write(ByteArray(100))
            }
        }
        phone.open(Screen.MODELS).chooseZip(evil).settle()
        val told = phone.sees(Words.IMPORTED) || phone.sees("cannot be")
        assertTrue("${phone.texts()}", told)
        assertEquals(emptyList<String>(), phone.strayFiles())
        val all = phone.app.shared.parentFile!!.parentFile!!.walkTopDown()
        assertEquals(emptyList<File>(), all.filter { it.name == "evil.txt" }.toList())
    }

    @Test
    fun aManifestThatNamesFilesOutsideIsRefused() {
        val app = FolderApp()
        val made = phone.bundleElsewhere { made ->
            val files = made.part("files")
            files["../../evil.json"] = files.remove("tokenizer.json")
        }
        app.root = made.folder
        phone.open(Screen.MODELS).chooseFolder(OtherApps.folder(app)).settle()
        assertFalse("${phone.texts()}", phone.sees(Words.IMPORTED))
        assertEquals(emptyList<String>(), phone.strayFiles())
    }

    // Pictures.

    @Test
    fun aPictureOnItsWayWhenTheProcessEndedStillArrives() {
        phone.addModel()
        val picture = OtherApps.slowPicture(OtherApps.jpeg(BLUE))
        phone.open().choose(picture).dieAndReturn()
        OtherApps.release()
        phone.waitFor("the picture is to be shown", 20) { phone.seesColour(BLUE) }
    }

    @Test
    fun aPictureThatArrivedIsNotTakenASecondTime() {
        phone.addModel()
        phone.open().choose(OtherApps.slowPicture(OtherApps.jpeg(BLUE))).turn()
        OtherApps.release()
        phone.waitFor("the picture is to be shown") { phone.seesColour(BLUE) }
        phone.removePicture().turn().dieAndReturn()
        assertTrue("it comes back", phone.staysWithoutPicture())
    }

    @Test
    fun whatIsOpenedFromTheRecentAppsIsNotTakenAgain() {
        val intent = share(OtherApps.picture(OtherApps.jpeg(BLUE)))
        phone.open(intent = intent.addFlags(Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY))
        assertTrue("taken again", phone.staysWithoutPicture())
    }

    @Test
    fun aShareWithoutAPictureIsToldOf() {
        phone.open(intent = share().putExtra(Intent.EXTRA_TEXT, "Look at this"))
        assertTrue("${phone.toast()}", phone.toast().orEmpty().contains("no picture"))
    }

    @Test
    fun ofTwoPicturesThatAreSharedTheFirstIsTakenWithAWord() {
        phone.addModel()
        val two = arrayOf(BLUE, RED).map { OtherApps.picture(OtherApps.jpeg(it)) }
        phone.open(intent = share(two[0], two[1])).waitFor("a picture is to be shown") { phone.seesPicture() }
        assertTrue("${phone.toast()}", phone.seesColour(BLUE) && phone.toast().orEmpty().contains("the first"))
        val list = Intent(Intent.ACTION_SEND)
        list.putParcelableArrayListExtra(Intent.EXTRA_STREAM, ArrayList(two.reversed()))
        phone.controller.newIntent(list)
        phone.waitFor("the first of the list is to be shown") { phone.seesColour(RED) }
    }

    @Test
    fun aPictureThatIsSharedWhileItAnswersIsForTheNextQuestion() {
        phone.addModel()
        phone.open().chooseColour(BLUE)
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.ask("What is this?").waitUntilSeen("aaa")
        phone.controller.newIntent(share(OtherApps.picture(OtherApps.jpeg(RED))))
        phone.waitFor("the picture is to be shown") { phone.seesColour(RED) }
        Model.decoding.open()
        phone.settle().ask("And this?").settle()
        val asked = Model.pictures.map { OtherApps.isLike(it, BLUE) to OtherApps.isLike(it, RED) }
        assertEquals(listOf(true to false, false to true), asked)
    }

    @Test
    fun aPictureThatIsTakenBackBeforeItIsAskedAboutIsThere() {
        phone.addModel()
        var isThere = true
        val bytes = OtherApps.jpeg(BLUE)
        val picture = OtherApps.pictureFrom { if (isThere) bytes.inputStream() else throw SecurityException("revoked") }
        phone.open().choose(picture).waitFor("the picture is to be shown") { phone.seesColour(BLUE) }
        isThere = false
        phone.turn().ask("What is this?").settle()
        assertTrue("${phone.texts()}", OtherApps.isLike(Model.pictures.single(), BLUE))
    }

    @Test
    fun aPictureWhoseFileIsGoneEndsInWords() {
        phone.addModel()
        phone.open().chooseColour(BLUE)
        File(phone.app.filesDir, "pictures").deleteRecursively()
        phone.ask("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees("No answer") && phone.canTap("Retry"))
        assertTrue("${phone.texts()}", phone.texts().none { it.endsWith(": ") })
    }

    @Test
    fun aPictureForWhichThereIsNoRoomIsToldOf() {
        phone.addModel()
        phone.open()
        File(phone.app.filesDir, "pictures").run {
            deleteRecursively()
            writeText("")
        }
        phone.choose(OtherApps.picture(OtherApps.jpeg(BLUE)))
        phone.waitFor("it is to be told", 20) { phone.toast().orEmpty().contains("picture") }
    }

    @Test
    fun aPictureOfOneLongRowIsAskedAbout() {
        phone.addModel()
        phone.open().choose(OtherApps.picture(OtherApps.jpeg(BLUE, width = 60_000, height = 1)))
        phone.waitFor("it is to be taken") { phone.app.draft.told.now.picture != null }
        phone.ask("What is this?").settle(60)
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    fun aDraftWithItsPictureSurvivesTheProcess() {
        phone.addModel()
        phone.open().chooseColour(BLUE).type("Half a questi").dieAndReturn()
        phone.waitFor("the picture is to be shown") { phone.seesColour(BLUE) }
        assertEquals("Half a questi", phone.question.text.toString())
    }

    // Taps, records, languages.

    @Test
    fun twoTapsOnShareOpenOneChooser() {
        phone.addModel()
        phone.open(Screen.SPEED).tap(Words.MEASURE).settle().waitUntilSeen(Words.MEASURED)
        repeat(2) { phone.screen.findViewById<View>(R.id.share_speed).performClick() }
        assertEquals(Intent.ACTION_CHOOSER, shadowOf(phone.screen).nextStartedActivity.action)
        assertEquals(null, shadowOf(phone.screen).nextStartedActivity)
        phone.leave().returnToApp()
        phone.screen.findViewById<View>(R.id.share_speed).performClick()
        assertEquals(Intent.ACTION_CHOOSER, shadowOf(phone.screen).nextStartedActivity.action)
    }

    @Test
    fun twoTapsOnRetryAskOnce() {
        phone.addModel()
        Model.onLoad = { throw UnsatisfiedLinkError("broken") }
        phone.open().ask("What is this?").settle()
        Model.onLoad = {}
        val retry = phone.view("Retry")
        retry.performClick()
        retry.performClick()
        phone.settle()
        assertEquals(1, phone.app.chat.told.now.turns.size)
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    fun ofAHistoryFullOfJunkWhatCanBeReadIsShown() {
        phone.addModel()
        val whole = Turn("1", "What is this?", answer = "A cat on a mat.", end = TurnEnd.ANSWERED).line()
        val junk = listOf(
            "", "null", "[]", "{", "{}", "\u0000\u0000\u0000", whole.dropLast(20), "[".repeat(100_000),
            Json.write(mapOf("id" to 5, "question" to 7, "answer" to listOf(1))),
            """{"question": "Odd?", "answer": "", "end": "MELTED", "asked": 1e400, "arguments": {"a": 1}, "problem": "WHO"}""",
        )
        phone.record("conversation.jsonl", junk + whole + junk)
        phone.record("speed.jsonl", junk)
        File(phone.app.filesDir, "draft.json").writeText("[1, 2")
        phone.open().waitUntilSeen("A cat on a mat.").ask("And this?").settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
        phone.menu(Words.SPEED)
        assertTrue("${phone.texts()}", phone.sees("Nothing measured yet"))
    }

    @Test
    fun theAnswerGoesOnWhenTheLanguageIsChanged() {
        phone.addModel()
        phone.open()
        answering()
        RuntimeEnvironment.setQualifiers("+ar-ldrtl")
        phone.turn()
        assertTrue("${phone.texts()}", phone.sees("aaa") && phone.canTap(Words.STOP))
        Model.decoding.open()
        phone.settle()
        assertTrue("${phone.texts()}", phone.sees("a".repeat(20)))
    }
}
