package org.hydramobile.demo

import android.content.Intent
import android.net.Uri
import android.view.View
import android.widget.TextView
import org.hydramobile.core.Manifest
import org.hydramobile.screens.AskSettings
import org.hydramobile.screens.BundleSource
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category
import org.robolectric.RuntimeEnvironment
import org.robolectric.shadows.ShadowAlertDialog
import org.robolectric.shadows.ShadowToast
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.InputStream
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** Other sides of what the tests beside this one ask: each a small thing that a person, an app or Android does. */
class SidesTest : PhoneTest() {
    private fun folder(name: String = "outside", change: FolderApp.() -> Unit = {}): Uri {
        val root = phone.bundleElsewhere(name).folder
        return OtherApps.folder(FolderApp().also { it.root = root }.apply(change))
    }

    private fun stuckFolder() = folder { onOpen = { if ("decoder" in it) OtherApps.stall() } }

    private fun zipped(files: (ZipOutputStream) -> Unit): ByteArray {
        val bytes = ByteArrayOutputStream()
        ZipOutputStream(bytes).use(files)
        return bytes.toByteArray()
    }

    private fun ZipOutputStream.put(name: String, bytes: ByteArray) {
        putNextEntry(ZipEntry(name))
        write(bytes)
    }

    private fun ZipOutputStream.bundle() {
        val root = phone.bundleElsewhere().folder
        for (file in root.walkTopDown().filter { it.isFile }) put(file.relativeTo(root).path, file.readBytes())
    }

    private fun share(extra: Any?): Intent = Intent(Intent.ACTION_SEND).setType("image/png").also {
        if (extra is Uri) it.putExtra(Intent.EXTRA_STREAM, extra)
        if (extra is String) it.putExtra(Intent.EXTRA_STREAM, extra)
    }

    private fun answering() {
        Model.answers(20)
        Model.decoding.close(letting = 5)
        phone.ask("What is this?").waitUntilSeen("aaa")
    }

    private fun twice(text: String) {
        val view = phone.view(text)
        view.performClick()
        view.performClick()
        phone.idle()
    }

    private val bundles get() = phone.models.listFiles().orEmpty().filter { !it.name.startsWith(".") }

    // The first run.

    /** The model in the APK; [onDecoder] is called before its decoder is read. */
    private fun builtIn(onDecoder: () -> Unit): BundleSource {
        val root = phone.bundleElsewhere("inside").folder
        return object : BundleSource {
            override val title = "inside"

            override fun open(path: String): InputStream? {
                if ("decoder" in path) onDecoder()
                return File(root, path).takeIf { it.isFile }?.inputStream()
            }
        }
    }

    @Test
    fun theModelInsideTheAppAnswersAtTheFirstStartAndIsNotUnpackedAgain() {
        var hangs = true
        Model.builtIn = builtIn { if (hangs) OtherApps.stall() }
        phone.forget()
        phone.open().waitUntilSeen("Unpacking the model")
        assertFalse("${phone.texts()}", phone.canTap("Choose a bundle"))
        hangs = false
        OtherApps.release()
        phone.waitFor("the model is to be there") { phone.sees("inside") }.ask("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
        phone.menu(Words.MODELS).drain()
        phone.tap(phone.deleteButton("inside")).confirm().waitFor("gone") { phone.sees(Words.NO_MODELS) }
        phone.forget()
        phone.open().settle()
        assertEquals("unpacked again", emptyList<File>(), bundles)
    }

    @Test
    fun unpackingGoesOnInTheNextProcess() {
        var hangs = true
        // A thread of a process that has ended does nothing more.
        Model.builtIn = builtIn { if (hangs) Thread.sleep(Long.MAX_VALUE) }
        phone.forget()
        phone.open().waitUntilSeen("Unpacking the model")
        hangs = false
        phone.dieAndReturn()
        phone.waitFor("the model is to be there", 20) { phone.sees("inside") }
        phone.ask("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    // Taps.

    @Test
    fun aDoubleTapOnMeasureMeasures() {
        phone.addModel()
        phone.open(Screen.SPEED)
        twice(Words.MEASURE)
        phone.settle().waitUntilSeen(Words.MEASURED)
        assertEquals(1, phone.app.measurements.told.now.made.size)
    }

    @Test
    fun aDoubleTapOpensOneOfEach() {
        phone.addModel("alpha")
        phone.addModel("beta")
        phone.open()
        twice("Add a picture")
        assertEquals("menus", 1, phone.windows().count { it.isShown })
        phone.tap(Words.TAKE)
        phone.forget()
        phone.open(Screen.MODELS)
        twice(phone.deleteButton("alpha"))
        phone.confirm().waitFor("alpha is to go") { !phone.sees("alpha") }
        assertTrue("beta is gone too: ${phone.texts()}", phone.sees("beta"))
        assertFalse("a second dialog", ShadowAlertDialog.getLatestAlertDialog().isShowing)
    }

    @Test
    fun aDoubleTapOnAskAgainAsksOnce() {
        phone.addModel()
        phone.open().ask("What is this?").settle()
        twice("Ask again")
        phone.settle()
        assertEquals(2, phone.app.chat.told.now.turns.size)
    }

    @Test
    fun onlyBlanksAreNoQuestion() {
        phone.addModel()
        phone.open().type(" \n\t ")
        assertFalse(phone.canTap(Words.ASK))
        phone.question.onEditorAction(android.view.inputmethod.EditorInfo.IME_ACTION_SEND)
        phone.idle()
        assertEquals(0, phone.app.chat.told.now.turns.size)
    }

    // What other apps hand over.

    @Test
    fun whatIsNoAddressInAShareIsToldOf() {
        phone.open(intent = share("content://photos/1"))
        assertTrue("${phone.toast()}", phone.toast().orEmpty().contains("no picture"))
        ShadowToast.reset()
        phone.controller.newIntent(share(null))
        assertTrue("${phone.toast()}", phone.toast().orEmpty().contains("no picture"))
        // Nobody has this address, and a zip without one.
        phone.controller.newIntent(share(Uri.parse("content://nobody.here/1")))
        phone.waitFor("it is to be told") { phone.toast().orEmpty().contains("cannot be read") }
        phone.controller.newIntent(Intent(Intent.ACTION_VIEW))
        assertEquals(1, phone.depth)
    }

    @Test
    fun anEmptyPictureAndOneThatMayNotBeReadAnyMoreAreToldOf() {
        phone.open(intent = share(OtherApps.picture(ByteArray(0))))
        phone.waitFor("it is to be told") { phone.toast().orEmpty().contains("Android cannot read") }
        ShadowToast.reset()
        val revoked = OtherApps.pictureFrom { throw SecurityException("Permission Denial") }
        phone.controller.newIntent(share(revoked))
        phone.waitFor("it is to be told") { phone.toast().orEmpty().contains("Permission Denial") }
        assertTrue(phone.staysWithoutPicture())
    }

    @Test
    fun ofTwoSharesOneAfterTheOtherTheLastCounts() {
        phone.addModel()
        val slow = OtherApps.slowPicture(OtherApps.jpeg(RED))
        phone.open(intent = share(slow))
        phone.controller.newIntent(share(OtherApps.picture(OtherApps.jpeg(BLUE))))
        phone.waitFor("the last is to be shown") { phone.seesColour(BLUE) }
        OtherApps.release()
        phone.drain()
        phone.drain()
        assertTrue("the first came back", phone.seesColour(BLUE) && !phone.seesColour(RED))
    }

    // Zip files.

    private fun assertRefused(name: String, bytes: ByteArray, vararg words: String) {
        phone.open(Screen.MODELS).chooseZip(OtherApps.picture(bytes)).settle()
        val told = phone.texts()
        assertTrue("$name: $told", words.any { word -> told.any { word in it } })
        assertEquals(name, emptyList<File>(), bundles)
        assertEquals(name, emptyList<String>(), phone.strayFiles())
        phone.back()
    }

    @Test
    fun zipsThatAreNoneOrDamagedAreRefused() {
        val whole = zipped { it.bundle() }
        val bent = whole.copyOf().also { for (at in 2000 until 2040) it[at] = (it[at] + 1).toByte() }
        assertRefused("a picture", OtherApps.jpeg(), "manifest.json is missing")
        assertRefused("no bytes", ByteArray(0), "manifest.json is missing")
        assertRefused("an empty zip", zipped { it.put("readme.txt", ByteArray(3)) }, "manifest.json is missing")
        assertRefused("half a zip", whole.copyOf(whole.size / 2), "damaged", "is missing", "cut short")
        assertRefused("a bent zip", bent, "damaged", "is missing", "cut short")
    }

    @Test
    fun aZipThatUnpacksToMoreThanItSaysIsRefused() {
        val bomb = ByteArray(Manifest.MOST_BYTES.toInt() + 1)
        assertRefused("a manifest", zipped { it.put("manifest.json", bomb) }, "damaged")
        val larger = zipped { zip ->
            val root = phone.bundleElsewhere().folder
            for (file in root.walkTopDown().filter { it.isFile }) {
                val more = if (file.name == "tokenizer.json") bomb else ByteArray(0)
                zip.put(file.relativeTo(root).path, file.readBytes() + more)
            }
        }
        assertRefused("a file", larger, "altered")
    }

    /** What no manifest names is passed over, and Stop ends that too, in the background as on the screen. */
    @Test
    fun stopEndsTheWayThroughAZipWithoutEnd() {
        var given = 0
        var isClosed = false
        // The head of a deflated file, then a block of it that says 255 for ever.
        val head = zipped { it.put("junk", ByteArray(0)) }.copyOf(30 + "junk".length) + 0xFA.toByte()
        val endless = object : InputStream() {
            override fun read() = -1

            override fun read(bytes: ByteArray, from: Int, count: Int): Int {
                for (at in from until from + count) bytes[at] = head.getOrElse(given++) { -1 }
                return count
            }

            override fun close() {
                isClosed = true
            }
        }
        phone.open(Screen.MODELS).chooseZip(OtherApps.pictureFrom { endless })
        phone.waitFor("it is to be read") { given > 1 shl 20 }
        phone.tap(Words.STOP)
        phone.waitFor("it is to stop") { phone.canTap(Words.IMPORT) && isClosed }
        assertEquals(emptyList<String>(), phone.strayFiles())
    }

    // Models.

    @Test
    fun twoImportsOfOneNameAreTwoModels() {
        phone.open(Screen.MODELS).chooseFolder(folder("one")).settle()
        phone.chooseFolder(folder("two")).settle().drain()
        assertEquals(2, bundles.size)
        val names = bundles.map { it.name }
        assertTrue("$names: ${phone.texts()}", names.all { phone.sees(it) })
    }

    @Test
    fun anImportThatWasStoppedCanBeStartedAgainAtOnce() {
        phone.open(Screen.MODELS).chooseFolder(stuckFolder()).waitForCopy().tap(Words.STOP)
        phone.waitFor("it is to stop") { phone.canTap(Words.IMPORT) }
        phone.chooseFolder(folder("again")).settle().waitUntilSeen(Words.IMPORTED)
        OtherApps.release()
        phone.settle()
        assertEquals("${phone.texts()}", 1, bundles.size)
    }

    @Test
    fun aModelThatIsTakenAwayWhileTheAppIsLeftIsNotOffered() {
        phone.addModel("first")
        phone.open().ask("What is this?").settle().type("And this?").leave()
        File(phone.models, "first").deleteRecursively()
        phone.returnToApp().drain()
        assertFalse("a question to a model that is gone", phone.canTap(Words.ASK))
        assertTrue("${phone.texts()}", phone.sees(Words.NO_MODEL) && phone.sees("What is this?"))
        phone.addModel("second")
        phone.leave().returnToApp().waitFor("the new one is to be there") { phone.canTap(Words.ASK) }
        assertEquals("And this?", phone.question.text.toString())
    }

    @Test
    fun aMeasurementGoesOnWhenMemoryIsShort() {
        phone.addModel("first")
        Model.decoding.close(letting = 5)
        phone.open(Screen.SPEED).tap(Words.MEASURE).waitFor("it is to measure") { Model.decoding.reached }
        phone.leave().trim()
        Model.decoding.open()
        phone.settle().returnToApp().waitUntilSeen(Words.MEASURED)
    }

    // Leaving, and what Android changes meanwhile.

    @Test
    fun backDuringASpeedTestLetsItEnd() {
        phone.addModel()
        Model.decoding.close(letting = 5)
        phone.open().menu(Words.SPEED).tap(Words.MEASURE).waitFor("it is to measure") { Model.decoding.reached }
        phone.back().back().open().menu(Words.SPEED)
        assertTrue("${phone.texts()}", phone.canTap(Words.STOP))
        Model.decoding.open()
        phone.settle().waitUntilSeen(Words.MEASURED)
    }

    @Test
    fun lettersThatGrowWhileItAnswersChangeNothingElse() {
        phone.addModel()
        phone.open().chooseColour(BLUE)
        answering()
        phone.type("Next?")
        RuntimeEnvironment.setFontScale(2f)
        phone.turn()
        assertTrue("${phone.texts()}", phone.sees("aaa") && phone.canTap(Words.STOP) && phone.seesColour(BLUE))
        assertEquals("Next?", phone.question.text.toString())
        Model.decoding.open()
        phone.settle()
        // One call was the picture's.
        assertTrue("${phone.texts()}", phone.sees("a".repeat(19)))
    }

    @Test
    fun aQuestionOnTheScreenStaysWhenItGrowsDark() {
        phone.addModel("first")
        phone.open().ask("What is this?").settle().askToClear()
        RuntimeEnvironment.setQualifiers("+night")
        phone.turn()
        assertTrue("it is not asked any more", ShadowAlertDialog.getLatestAlertDialog().isShowing)
        phone.confirm()
        assertFalse("${phone.texts()}", phone.sees("What is this?"))
        phone.turn()
        assertEquals("asked again after the answer", 0, phone.windows().count { it.isShown })
    }

    @Test
    fun aMenuThatIsOpenWhenThePhoneIsTurnedOutlivesNothing() {
        phone.addModel()
        phone.open().ask("What is this?").settle().tap("Add a picture").turn()
        phone.tap("Add a picture").leave().returnToApp().turn().back()
        phone.open().tap("Add a picture")
        assertEquals("menus", 1, phone.windows().count { it.isShown })
    }

    @Test
    fun whatIsAskedAndClearedDoesNotComeBackInTheNextProcess() {
        phone.addModel()
        phone.open()
        answering()
        phone.clear().dieAndReturn()
        phone.settle()
        assertFalse("${phone.texts()}", phone.sees("What is this?"))
        assertEquals(emptyList<File>(), File(phone.app.filesDir, "pictures").listFiles().orEmpty().toList())
    }

    @Test
    fun everyScreenComesBackAfterTheProcessEnded() {
        phone.addModel()
        for (screen in Screen.values()) {
            phone.open(screen).dieAndReturn().drain()
            assertTrue("$screen shows nothing", phone.texts().isNotEmpty())
            phone.back()
        }
    }

    @Test
    fun aBatchWithoutFilesSaysHowItIsStarted() {
        phone.open(Screen.BATCH)
        assertTrue("${phone.texts()}", phone.sees("This screen is for adb"))
        phone.turn()
        assertTrue("${phone.texts()}", phone.sees("This screen is for adb"))
    }

    @Test
    fun settingsOfAnotherVersionAreSetRight() {
        val names = with(AskSettings) { listOf(MOST_TOKENS, TEMPERATURE, TOP_P, SEED, THREADS) }
        phone.app.keep(names.zip(listOf("many", "hot", "-7", "1e400", "-1")).toMap())
        phone.addModel()
        phone.open(Screen.SETTINGS).back()
        phone.open().ask("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    @Category(Slow::class)
    fun aTurnOfThePhoneAtEachPercentOfAnImportLosesNothing() {
        val root = phone.bundleElsewhere().folder
        val app = FolderApp().also { it.root = root }
        phone.open(Screen.MODELS)
        app.onOpen = { Thread.sleep(150) }
        phone.chooseFolder(OtherApps.folder(app))
        var turns = 0
        while (phone.app.imports.told.now.isBusy && turns++ < 200) phone.turn()
        phone.settle().waitUntilSeen(Words.IMPORTED)
        assertTrue("$turns turns", turns > 2)
    }

    /** Every control of a screen pressed twice at once, in every state: nothing ends the app. */
    @Test
    @Category(Slow::class)
    fun twoTapsOnEachControlEndNothing() {
        for (each in Scenes.ALL) {
            scene(each) {
                val controls = { phone.views().filter { it.hasOnClickListeners() && it.isEnabled && it.isShown } }
                for (index in controls().indices) {
                    val control: View = controls().getOrNull(index) ?: continue
                    val name = "${each.name}: ${Checks.name(control)} ${(control as? TextView)?.text}"
                    try {
                        repeat(2) { control.performClick() }
                        phone.idle()
                    } catch (error: Throwable) {
                        throw AssertionError(name, error)
                    }
                    assertEquals(name, emptyList<Throwable>(), phone.crashes)
                }
                ""
            }
        }
    }
}
