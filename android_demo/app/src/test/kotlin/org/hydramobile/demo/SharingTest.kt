package org.hydramobile.demo

import android.content.ClipboardManager
import android.content.Context
import android.content.Intent
import android.net.Uri
import android.view.View
import android.widget.SeekBar
import org.hydramobile.core.Json
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** What other apps hand to this one, and what it hands to them; settings and the log. */
class SharingTest : PhoneTest() {
    private fun zip(): Uri {
        val folder = phone.bundleElsewhere().folder
        val bytes = ByteArrayOutputStream()
        ZipOutputStream(bytes).use { zip ->
            for (file in folder.walkTopDown().filter { it.isFile }) {
                zip.putNextEntry(ZipEntry("bundle/${file.relativeTo(folder).path}"))
                file.inputStream().use { it.copyTo(zip) }
            }
        }
        return OtherApps.picture(bytes.toByteArray())
    }

    @Test
    fun aSharedPictureIsPicked() {
        phone.addModel()
        val intent = Intent(Intent.ACTION_SEND).setType("image/jpeg")
            .putExtra(Intent.EXTRA_STREAM, OtherApps.picture(OtherApps.jpeg(BLUE)))
        phone.open(intent = intent).waitFor("the picture is to be shown") { phone.seesColour(BLUE) }
        phone.turn()
        phone.waitFor("it is shown after a turn") { phone.seesColour(BLUE) }
        phone.removePicture().turn()
        assertTrue("it comes back with the next turn", phone.staysWithoutPicture())
    }

    @Test
    fun aPictureIsSharedWhileTheAppIsOpen() {
        phone.addModel()
        phone.open().chooseColour(RED)
        phone.controller.newIntent(
            Intent(Intent.ACTION_SEND).putExtra(Intent.EXTRA_STREAM, OtherApps.picture(OtherApps.jpeg(BLUE))),
        )
        phone.waitFor("the picture is to be shown") { phone.seesColour(BLUE) }
    }

    @Test
    fun aZipIsOpenedWithTheApp() {
        phone.open(intent = Intent(Intent.ACTION_VIEW).setDataAndType(zip(), "application/zip")).follow()
        assertEquals(2, phone.depth)
        phone.settle().waitUntilSeen(Words.IMPORTED)
        phone.back().askWhenReady("What is this?").settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    @Test
    fun aZipIsPicked() {
        phone.open(Screen.MODELS).chooseZip(zip()).settle().waitUntilSeen(Words.IMPORTED)
    }

    @Test
    fun theAppAnswersToSharesAndZips() {
        val manager = phone.app.packageManager
        val share = Intent(Intent.ACTION_SEND).setType("image/png").setPackage(phone.app.packageName)
        val zip = Intent(Intent.ACTION_VIEW).setDataAndType(Uri.parse("content://a/b"), "application/zip")
        for (intent in listOf(share, zip.setPackage(phone.app.packageName))) {
            assertTrue(
                "$intent",
                manager.queryIntentActivities(intent, 0).any {
                    "MainActivity" in it.activityInfo.name
                },
            )
        }
    }

    @Test
    fun measurementsAreSharedAsBenchReadsThem() {
        phone.addModel()
        phone.open(Screen.SPEED).tap(Words.MEASURE).settle().waitUntilSeen(Words.MEASURED)
        phone.screen.findViewById<View>(R.id.share_speed).performClick()
        val chooser = shadowOf(phone.screen).nextStartedActivity
        val sent = chooser.getParcelableExtra<Intent>(Intent.EXTRA_INTENT)!!
        val json = Json.parseObject(sent.getStringExtra(Intent.EXTRA_TEXT)!!, "shared")
        assertEquals(1, json.int("schema"))
        System.getProperty("hydra.shared")?.let { File(it).writeText(sent.getStringExtra(Intent.EXTRA_TEXT)!!) }
    }

    @Test
    fun aFollowUpQuestionIsAboutTheSamePicture() {
        phone.addModel()
        phone.open().chooseColour(BLUE).ask("What is this?").settle()
        phone.ask("And its color?").settle()
        assertEquals("one encoding, for the second question is about the same picture", 1, Model.pictures.size)
        val asked = phone.app.chat.told.now.turns
        assertEquals(asked[0].picture, asked[1].picture)
        assertNotNull(asked[1].picture)
    }

    @Test
    fun settingsCountAtOnceAndReset() {
        phone.open(Screen.SETTINGS)
        val bar = phone.screen.findViewById<View>(R.id.length).findViewById<SeekBar>(R.id.slider_bar)
        val listener = SeekBar::class.java.getDeclaredField("mOnSeekBarChangeListener").also { it.isAccessible = true }
        bar.progress = 0
        (listener.get(bar) as SeekBar.OnSeekBarChangeListener).onProgressChanged(bar, 0, true)
        assertEquals(8, phone.app.settings.mostTokens)
        assertTrue("${bar.contentDescription}", bar.contentDescription.endsWith("8"))
        phone.turn()
        assertTrue("${phone.texts()}", phone.texts().any { it == "8" })
        phone.screen.findViewById<View>(R.id.reset).performClick()
        phone.idle()
        phone.confirm()
        assertEquals(64, phone.app.settings.mostTokens)
    }

    @Test
    fun theLogIsCopiedWithoutQuestions() {
        phone.addModel()
        Model.onLoad = { throw UnsatisfiedLinkError("libhydra is missing") }
        phone.open().ask("A secret question?").settle().menu(Words.ABOUT).tap("Copy log")
        val board = phone.app.getSystemService(Context.CLIPBOARD_SERVICE) as ClipboardManager
        val text = board.primaryClip!!.getItemAt(0).text.toString()
        assertTrue(text, "libhydra is missing" in text && "abis" in text)
        assertFalse(text, "secret" in text)
    }

    @Test
    fun whatATypedTextWasSurvivesTheProcess() {
        phone.addModel()
        phone.open().type("Half a questi").dieAndReturn()
        phone.drain()
        assertEquals("Half a questi", phone.question.text.toString())
    }
}
