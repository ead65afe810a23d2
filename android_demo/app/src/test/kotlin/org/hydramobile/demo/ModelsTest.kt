package org.hydramobile.demo

import android.net.Uri
import android.widget.TextView
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category
import org.robolectric.shadows.ShadowAlertDialog

/** The list of models, imports, deletion. */
class ModelsTest : PhoneTest() {
    private fun folder(change: FolderApp.() -> Unit = {}): Uri {
        val root = phone.bundleElsewhere().folder
        return OtherApps.folder(FolderApp().also { it.root = root }.apply(change))
    }

    private fun stuckFolder() = folder { onOpen = { if ("decoder" in it) OtherApps.stall() } }

    @Test
    fun anInstalledModelWorksOnAFullDisk() {
        phone.freeDisk(1)
        phone.addModel()
        phone.open().ask("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    fun anInstalledModelIsListedAsUsableOnAFullDisk() {
        phone.freeDisk(1)
        phone.addModel("first")
        phone.open().menu(Words.MODELS).drain()
        assertTrue("${phone.texts()}", phone.sees("Checked before the first answer"))
    }

    @Test
    fun anImportWithoutRoomIsRefused() {
        phone.freeDisk(1)
        phone.open().menu(Words.MODELS).chooseFolder(folder()).settle()
        assertTrue("${phone.texts()}", phone.sees("free on the disk"))
    }

    @Test
    fun anImportNeedsNoMemory() {
        phone.memory(8L shl 30, 1L shl 20)
        phone.open().menu(Words.MODELS).chooseFolder(folder()).settle()
        assertTrue("${phone.texts()}", phone.sees(Words.IMPORTED))
    }

    @Test
    fun theListIsThereDuringAnImport() {
        phone.addModel("first")
        phone.open().menu(Words.MODELS).drain()
        phone.chooseFolder(stuckFolder()).back().menu(Words.MODELS)
        phone.waitFor("the list is to be shown", 20) { phone.sees("first") }
    }

    @Test
    fun anImportFromAnAppThatHangsCanBeEnded() {
        phone.open().menu(Words.MODELS).chooseFolder(stuckFolder())
        phone.waitForCopy()
        phone.tap(Words.STOP)
        phone.waitFor("it is to stop", 20) { phone.canTap(Words.IMPORT) }
    }

    @Test
    fun theScreenStaysOnDuringAnImport() {
        phone.open().menu(Words.MODELS).chooseFolder(stuckFolder())
        phone.waitForCopy()
        assertTrue("nothing keeps the screen on", phone.keepsScreenOn())
    }

    @Test
    fun aModelThatWasReplacedIsLoadedAgain() {
        phone.addModel("first")
        phone.open().ask("What is this?").settle()
        Thread.sleep(20)
        phone.addModel("first") { it.manifest["stop_ids"] = listOf(2, 9) }
        phone.ask("And this?").settle()
        assertEquals("loads", 2, Model.loads.size)
    }

    @Test
    fun aSecondModelLeavesOneChosen() {
        phone.addModel("first")
        phone.open().ask("What is this?").settle()
        phone.menu(Words.MODELS).chooseFolder(folder()).settle().back()
        assertFalse("${phone.texts()}", phone.sees(Words.NO_MODEL))
        phone.ask("And this?").settle()
        assertEquals("answers", 2, phone.texts().count { it.contains(Words.TOKENS_PER_SECOND) })
    }

    @Test
    fun theOnlyModelIsUsedAfterItsImport() {
        phone.open().menu(Words.MODELS).chooseFolder(folder()).settle().back()
        phone.ask("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    fun aDeletedModelIsNoLongerSaidToBeImported() {
        phone.open().menu(Words.MODELS).chooseFolder(folder()).settle()
        phone.tap(phone.deleteButton("bundle")).confirm().drain()
        phone.waitFor("the list to be empty") { phone.sees(Words.NO_MODELS) }
        assertFalse("${phone.texts()}", phone.sees(Words.IMPORTED))
    }

    @Test
    fun theButtonThatDeletesIsNoQuestion() {
        phone.addModel("first")
        phone.open().menu(Words.MODELS).drain()
        val said = phone.view(phone.deleteButton("first")).contentDescription.toString()
        assertFalse("a screen reader says \"$said\" for a button", said.contains("?"))
    }

    @Test
    fun theQuestionWhetherToDeleteSurvivesATurn() {
        phone.addModel("first")
        phone.open().menu(Words.MODELS).drain()
        phone.tap(phone.deleteButton("first"))
        val before = ShadowAlertDialog.getLatestAlertDialog()
        assertTrue(before.isShowing)
        phone.turn()
        assertTrue("the dialog is gone", ShadowAlertDialog.getLatestAlertDialog().let { it !== before && it.isShowing })
    }

    @Test
    fun aModelThatIsDeletedWhileItAnswersEndsInWords() {
        phone.addModel("first")
        Model.answers(40)
        phone.open()
        Model.decoding.close(letting = 5)
        phone.ask("What is this?").waitUntilSeen("aaa")
        phone.menu(Words.MODELS).drain()
        phone.tap(phone.deleteButton("first")).confirm()
        Model.decoding.open()
        phone.settle()
        phone.waitFor("the list to be empty") { phone.sees(Words.NO_MODELS) }
        phone.back()
        assertTrue("${phone.texts()}", phone.sees(Words.NO_MODEL) && phone.sees("aaa"))
    }

    @Test
    fun aModelWhoseFolderIsGoneIsToldOfAndTheQuestionStays() {
        phone.addModel("first")
        phone.open().ask("What is this?").settle()
        java.io.File(phone.models, "first").deleteRecursively()
        phone.ask("And this?").settle()
        val told = phone.sees("manifest.json is missing") || phone.sees("first is missing")
        // The question stays as a turn with a way to ask it again.
        assertTrue("${phone.texts()}", told && phone.sees("And this?") && phone.canTap("Retry"))
    }

    @Test
    fun aModelWhoseFilesAreGoneIsToldOf() {
        phone.addModel("first")
        phone.open().ask("What is this?").settle()
        java.io.File(phone.models, "first").listFiles()!!.forEach { it.deleteRecursively() }
        phone.ask("And this?").settle()
        assertEquals("answers: ${phone.texts()}", 1, phone.texts().count { it.contains(Words.TOKENS_PER_SECOND) })
    }

    @Test
    fun aFolderThatIsNoTreeEndsNothing() {
        phone.open().menu(Words.MODELS)
        val problem = try {
            phone.chooseFolder(Uri.parse("content://made.documents/somewhere"))
            null
        } catch (error: RuntimeException) {
            error
        }
        assertEquals("the app would have ended", null, problem?.toString())
    }

    @Test
    fun anAppThatAnswersNothingIsToldOf() {
        phone.open().menu(Words.MODELS).chooseFolder(folder { answersNothing = true }).settle()
        assertTrue("${phone.texts()}", phone.texts().any { it.startsWith("The bundle cannot be") })
    }

    @Test
    @Category(Slow::class)
    fun anAppThatFailsIsToldOf() {
        for (error in listOf(SecurityException("no"), IllegalStateException("closed"), NullPointerException())) {
            phone.open().menu(Words.MODELS).chooseFolder(folder { onQuery = { throw error } })
            val ended = phone.comes(20) { phone.canTap(Words.IMPORT) && phone.sees("The bundle cannot be") }
            assertEquals("$error: the app would have ended", emptyList<Throwable>(), phone.crashes)
            assertTrue("$error: ${phone.texts()}", ended)
            phone.back().back()
        }
    }

    @Test
    fun anErrorInAnImportEndsTheImportOnly() {
        phone.open().menu(Words.MODELS).chooseFolder(folder { onQuery = { throw StackOverflowError() } })
        val ended = phone.comes(20) { phone.canTap(Words.IMPORT) }
        assertEquals("the app would have ended", emptyList<Throwable>(), phone.crashes)
        assertTrue("it is said to go on for ever: ${phone.texts()}", ended)
    }

    @Test
    fun oddNamesInAFolderDoNoHarm() {
        val odd = listOf<Pair<String?, String?>>(
            ".." to "primary:Download/bundle/..", "" to "primary:Download/bundle/", null to "nameless",
            "x".repeat(5000) to "long", "MANIFEST.JSON" to "shout", "manifest.json " to "space", "id less" to null,
        )
        phone.open().menu(Words.MODELS).chooseFolder(folder { rows = { it + odd } }).settle()
        assertEquals(emptyList<Throwable>(), phone.crashes)
        assertTrue("${phone.texts()}", phone.sees(Words.IMPORTED))
        assertEquals("files outside of the models", emptyList<String>(), phone.strayFiles())
    }

    @Test
    fun aNameThatIsThereTwiceIsTheBundlesOwn() {
        // Some documents apps allow two files of one name in a folder.
        val twice: (List<Pair<String?, String?>>) -> List<Pair<String?, String?>> = { rows ->
            rows + rows.filter { it.first == "tokenizer.json" }.map { it.first to "primary:Download/bundle/gone" }
        }
        phone.open().menu(Words.MODELS).chooseFolder(folder { rows = twice }).settle()
        assertTrue("${phone.texts()}", phone.sees(Words.IMPORTED) || phone.sees("tokenizer.json"))
        assertEquals(emptyList<Throwable>(), phone.crashes)
    }

    @Test
    @Category(Slow::class)
    fun foldersWithOddTitlesBecomeModels() {
        for (title in listOf("..", "", "n".repeat(300), "\uD83D\uDE00", "a/b", "CON", ".hidden")) {
            val root = phone.bundleElsewhere().folder
            val app = FolderApp().also { it.root = root }.also { it.title = title }
            phone.open().menu(Words.MODELS).chooseFolder(OtherApps.folder(app)).settle()
            assertTrue("$title: ${phone.texts()}", phone.sees(Words.IMPORTED))
            phone.back().back()
        }
    }

    @Test
    fun twoTapsOnImportOpenOnePicker() {
        phone.open().menu(Words.MODELS)
        phone.view(Words.IMPORT).performClick()
        phone.view(Words.IMPORT).performClick()
        phone.idle()
        phone.tap("Folder")
        if (phone.canTap("Folder")) phone.tap("Folder")
        assertEquals("pickers for two taps", 1, phone.startedPickers())
    }

    @Test
    fun anImportThatTheSystemEndedIsToldOf() {
        phone.open().menu(Words.MODELS).chooseFolder(stuckFolder())
        phone.waitForCopy()
        phone.dieAndReturn()
        phone.drain()
        val isTold = phone.texts().any { it.contains("was ended while it imported") }
        assertTrue("nothing tells that the import is lost: ${phone.texts()}", isTold)
    }

    @Test
    fun withoutACardTheAppUsesItsOwnStorage() {
        phone.removeCard()
        phone.addModel("first")
        phone.open().ask("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    fun aLongNameIsShownWhole() {
        phone.addModel("a model with a name of sixty letters that nobody can read here")
        phone.open().menu(Words.MODELS).drain()
        phone.draw()
        val name = phone.views().filterIsInstance<TextView>().first { it.text.startsWith("a model with") }
        assertEquals("letters cut off", 0, name.layout.getEllipsisCount(name.lineCount - 1))
    }

    @Test
    fun aDeletedModelLeavesNoFiles() {
        phone.addModel("first")
        phone.open().ask("What is this?").settle().menu(Words.MODELS).drain()
        phone.tap(phone.deleteButton("first")).confirm().drain()
        phone.waitFor("gone") { phone.sees(Words.NO_MODELS) }
        assertEquals(emptyList<String>(), phone.models.walkTopDown().filter { it.isFile }.map { it.name }.toList())
    }

    @Test
    fun anImportThatWasCutShortNamesNoHiddenFolder() {
        val made = phone.bundleElsewhere()
        made.file("decoder_model_merged.onnx").writeBytes(ByteArray(100))
        val app = FolderApp().also { it.root = made.folder }
        phone.open().menu(Words.MODELS).chooseFolder(OtherApps.folder(app)).settle()
        assertFalse("${phone.texts()}", phone.sees(".hidden"))
    }
}
