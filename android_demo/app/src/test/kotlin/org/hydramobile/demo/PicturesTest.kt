package org.hydramobile.demo

import android.content.ClipData
import android.content.Intent
import android.graphics.Bitmap
import android.provider.OpenableColumns
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.experimental.categories.Category
import org.robolectric.Shadows.shadowOf
import java.io.ByteArrayOutputStream
import java.io.DataOutputStream
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.util.zip.CRC32
import java.util.zip.Deflater
import java.util.zip.DeflaterOutputStream

/** Choosing, taking, showing and asking about pictures. */
class PicturesTest : PhoneTest() {
    private fun assertAskedAbout(colour: Int) {
        val found = Model.pictures.last()
        assertTrue("another picture was asked about", OtherApps.isLike(found, colour))
    }

    @Test
    fun theAnswerIsAboutThePictureThatWasThereWhenItWasAsked() {
        phone.addModel()
        phone.open().chooseColour(BLUE)
        Model.loading.close()
        phone.ask("What is this?").waitFor("the model is to load") { Model.loading.reached }
        phone.chooseColour(RED)
        Model.loading.open()
        phone.settle()
        assertAskedAbout(BLUE)
    }

    @Test
    fun aPictureThatIsRemovedWhileTheModelLoadsIsStillAskedAbout() {
        phone.addModel()
        phone.open().chooseColour(BLUE)
        Model.loading.close()
        phone.ask("What is this?").waitFor("the model is to load") { Model.loading.reached }
        phone.removePicture()
        Model.loading.open()
        phone.settle()
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
        assertAskedAbout(BLUE)
    }

    @Test
    fun askingRightAfterChoosingIsAboutTheChosenPicture() {
        phone.addModel()
        phone.open().choose(OtherApps.slowPicture(OtherApps.jpeg(BLUE)))
        if (phone.canTap(Words.ASK)) phone.ask("What is this?")
        phone.comes(20) { !phone.app.chat.told.now.isBusy }
        OtherApps.release()
        phone.waitFor("the picture is to be shown") { phone.seesColour(BLUE) }
        phone.settle()
        val isHonest = !phone.sees(Words.TOKENS_PER_SECOND) || Model.pictures.isNotEmpty()
        assertTrue("answered without the picture, and nothing says so: ${phone.texts()}", isHonest)
    }

    @Test
    fun aPictureCanBeChosenDuringAnImport() {
        val root = phone.bundleElsewhere().folder
        val folder = FolderApp().also { it.root = root }
        folder.onOpen = { if ("decoder" in it) OtherApps.stall() }
        phone.open().menu(Words.MODELS).chooseFolder(OtherApps.folder(folder)).back()
        phone.choose(OtherApps.picture(OtherApps.jpeg(BLUE)))
        phone.waitFor("the picture is to be shown", 20) { phone.seesColour(BLUE) }
    }

    @Test
    fun thePictureStaysWhenThePhoneIsTurnedDuringAnImport() {
        val root = phone.bundleElsewhere().folder
        val folder = FolderApp().also { it.root = root }
        folder.onOpen = { if ("decoder" in it) OtherApps.stall() }
        phone.open().chooseColour(BLUE).menu(Words.MODELS).chooseFolder(OtherApps.folder(folder)).back()
        phone.turn()
        phone.waitFor("the picture is to be shown", 20) { phone.seesColour(BLUE) }
    }

    @Test
    fun aPickerThatDoesNotAnswerHoldsUpNothingElse() {
        phone.addModel()
        phone.open().choose(OtherApps.slowPicture()).menu(Words.MODELS)
        phone.waitFor("the list is to be shown", 20) { phone.sees("first") }
    }

    @Test
    fun aPickerThatDoesNotAnswerIsToldOf() {
        phone.open()
        val before = phone.texts()
        phone.choose(OtherApps.slowPicture())
        phone.waitFor("the screen is to say that a picture is on its way", 20) { phone.texts() != before }
    }

    @Test
    fun aPickerThatFailsInItsOwnWayEndsNothing() {
        val errors = listOf(IllegalStateException("closed"), NullPointerException(), UnsupportedOperationException())
        for (error in errors) {
            org.robolectric.shadows.ShadowToast.reset()
            phone.open().choose(OtherApps.pictureFrom { throw error })
            phone.waitFor("it is to be told that it failed", 20) { phone.crashes.isNotEmpty() || phone.toast() != null }
            assertEquals("the app would have ended", emptyList<Throwable>(), phone.crashes)
            phone.back()
        }
    }

    @Test
    fun aPickerThatGivesNothingIsToldOf() {
        phone.open().choose(OtherApps.pictureFrom { throw java.io.FileNotFoundException("it is gone") })
        phone.waitFor("a message") { phone.toast() != null }
        assertEquals(emptyList<Throwable>(), phone.crashes)
    }

    @Test
    fun aPickerThatAnswersWithAListIsUnderstood() {
        val uri = OtherApps.picture(OtherApps.jpeg(BLUE))
        val data = Intent()
        data.clipData = ClipData.newRawUri("", uri)
        phone.open().answered(data, "Add a picture", Words.CHOOSE)
        val isClear = phone.comes(20) { phone.seesColour(BLUE) || phone.toast() != null }
        assertTrue("neither picture nor message", isClear)
    }

    @Test
    fun brokenPicturesAreRefusedAndTheOneBeforeStays() {
        val whole = OtherApps.jpeg(RED)
        val broken = mapOf(
            "no bytes" to ByteArray(0),
            "noise" to ByteArray(5000) { (it * 31).toByte() },
            "a text named .jpg" to "not a picture".toByteArray(),
            "the head of a HEIC" to "\u0000\u0000\u0000\u0018ftypheic\u0000\u0000\u0000\u0000mif1heic".toByteArray(),
            "the head of a JPEG" to whole.copyOf(300),
        )
        phone.addModel()
        for ((name, bytes) in broken) {
            phone.open().chooseColour(BLUE)
            org.robolectric.shadows.ShadowToast.reset()
            phone.choose(OtherApps.picture(bytes)).drain()
            phone.comes(1) { phone.toast() != null }
            assertEquals(name, emptyList<Throwable>(), phone.crashes)
            assertTrue("$name: the picture before is gone: ${phone.texts()}", phone.seesColour(BLUE))
            phone.back()
        }
    }

    @Test
    fun aPictureThatWasCutShortIsShownAsItIsAskedAbout() {
        val whole = noisyJpeg()
        phone.addModel()
        phone.open().choose(OtherApps.picture(whole.copyOf(whole.size / 2))).drain()
        phone.comes(10) { phone.seesPicture() || phone.toast() != null }
        val isShown = phone.seesPicture()
        phone.ask("What is this?").settle()
        val isAsked = Model.pictures.isNotEmpty()
        assertEquals("shown, and asked about", isShown, isAsked)
        assertFalse("not shown, and yet an error about it", !isShown && phone.sees("cannot be read"))
    }

    private fun noisyJpeg(): ByteArray {
        val bitmap = Bitmap.createBitmap(640, 480, Bitmap.Config.ARGB_8888)
        for (y in 0 until 480) for (x in 0 until 640) bitmap.setPixel(x, y, (0xFF shl 24) or (x * 7919 + y * 104729))
        return ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.PNG, 90, it) }.toByteArray()
    }

    @Test
    @Category(Slow::class)
    fun aPictureOf108MegapixelsIsShownAndAskedAbout() {
        phone.addModel()
        phone.open().choose(OtherApps.picture(greyPng(12000, 9000)))
        phone.waitFor("the picture is to be shown", 60) { phone.seesPicture() || phone.crashes.isNotEmpty() }
        phone.ask("What is this?").settle(60)
        assertEquals(emptyList<Throwable>(), phone.crashes)
        assertTrue("${phone.texts()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    /** A grey picture of any size, without holding it. */
    private fun greyPng(width: Int, height: Int): ByteArray {
        val out = ByteArrayOutputStream()
        val data = DataOutputStream(out)
        fun chunk(name: String, bytes: ByteArray) {
            data.writeInt(bytes.size)
            val all = name.toByteArray() + bytes
            data.write(all)
            data.writeInt(CRC32().also { it.update(all) }.value.toInt())
        }
        data.write(byteArrayOf(0x89.toByte(), 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A))
        val head = ByteArrayOutputStream()
        DataOutputStream(head).run {
            writeInt(width)
            writeInt(height)
            write(byteArrayOf(8, 0, 0, 0, 0))
        }
        chunk("IHDR", head.toByteArray())
        val packed = ByteArrayOutputStream()
        DeflaterOutputStream(packed, Deflater(1)).use { deflater ->
            val row = ByteArray(width + 1) { if (it == 0) 0 else 0x80.toByte() }
            repeat(height) { deflater.write(row) }
        }
        chunk("IDAT", packed.toByteArray())
        chunk("IEND", ByteArray(0))
        return out.toByteArray()
    }

    @Test
    fun anAnimatedPictureShowsItsFirstFrame() {
        phone.addModel()
        phone.open().choose(OtherApps.picture(animatedGif()))
        phone.waitFor("the picture is to be shown") { phone.seesPicture() || phone.toast() != null }
        phone.ask("What is this?").settle()
        assertTrue("${phone.texts()} ${phone.toast()}", phone.sees(Words.TOKENS_PER_SECOND))
    }

    /** Two frames of 2 x 2. */
    private fun animatedGif(): ByteArray {
        val hex = "474946383961020002008000000000ffff000021ff0b4e45545343415045322e300301000000" +
            "21f904000a0000002c00000000020002000002028451003b".dropLast(2) +
            "21f904000a0000002c0000000002000200000202" + "8c5d00" + "3b"
        return hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()
    }

    @Test
    fun aPictureThatLiesOnItsSideIsShownUpright() {
        val lying = withOrientation(OtherApps.jpeg(BLUE, 640, 320), 6)
        phone.open().choose(OtherApps.picture(lying))
        phone.waitFor("the picture is to be shown") { phone.seesPicture() }
        val drawn = phone.pictures().single().drawable
        assertTrue("${drawn.intrinsicWidth} x ${drawn.intrinsicHeight}", drawn.intrinsicHeight > drawn.intrinsicWidth)
    }

    private fun withOrientation(jpeg: ByteArray, orientation: Int): ByteArray {
        val exif = ByteArrayOutputStream()
        DataOutputStream(exif).run {
            writeBytes("Exif\u0000\u0000MM\u0000*")
            writeInt(8)
            writeShort(1)
            writeShort(0x0112)
            writeShort(3)
            writeInt(1)
            writeShort(orientation)
            writeShort(0)
            writeInt(0)
        }
        val out = ByteArrayOutputStream()
        DataOutputStream(out).run {
            write(jpeg, 0, 2)
            writeShort(0xFFE1)
            writeShort(exif.size() + 2)
            write(exif.toByteArray())
            write(jpeg, 2, jpeg.size - 2)
        }
        return out.toByteArray()
    }

    @Test
    fun aPictureThatArrivesAfterATurnIsShown() {
        phone.open().choose(OtherApps.slowPicture(OtherApps.jpeg(BLUE))).turn()
        OtherApps.release()
        phone.waitFor("the picture is to be shown", 20) { phone.seesColour(BLUE) }
    }

    @Test
    fun thePhoneMayBeTurnedInTheCamera() {
        phone.open().chooseColour(RED)
        phone.photo(OtherApps.jpeg(BLUE), turned = true)
        phone.waitFor("the photo is to be shown", 20) { phone.seesColour(BLUE) }
    }

    @Test
    fun aCameraThatWroteNothingIsToldOf() {
        phone.open().chooseColour(RED)
        phone.photo(ByteArray(0))
        phone.waitFor("a message is to be shown", 20) { phone.toast() != null }
        assertTrue(phone.seesColour(RED))
    }

    @Test
    fun aCameraAppCanAskForNameAndSize() {
        phone.open()
        val uri = phone.photoAddress()
        val cursor = phone.app.contentResolver.query(uri, null, null, null, null)
        assertNotNull("the photo's address tells nothing of itself", cursor)
        cursor!!.use {
            assertTrue(it.moveToFirst())
            assertTrue(it.getColumnIndex(OpenableColumns.DISPLAY_NAME) >= 0)
            assertTrue(it.getColumnIndex(OpenableColumns.SIZE) >= 0)
        }
    }

    @Test
    fun takingAPhotoWithoutRoomIsToldOf() {
        phone.open()
        phone.blockCache()
        val problem = try {
            phone.tap("Add a picture").tap(Words.TAKE)
            null
        } catch (error: Exception) {
            error
        }
        assertEquals("the app would have ended", null, problem)
        phone.waitFor("a message is to be shown", 20) { phone.toast() != null }
    }

    @Test
    fun aPictureThatIsRemovedStaysRemoved() {
        phone.open().chooseColour(RED).choose(OtherApps.slowPicture(OtherApps.jpeg(BLUE))).removePicture()
        OtherApps.release()
        phone.drain()
        phone.drain()
        assertFalse("a picture is back that was on its way when all was removed", phone.seesPicture())
    }

    @Test
    fun removingThePictureLeavesNoCopyOfIt() {
        phone.open()
        phone.photo(OtherApps.jpeg(BLUE))
        phone.waitFor("the photo is to be shown") { phone.seesColour(BLUE) }
        phone.removePicture().drain()
        val left = listOf(phone.app.filesDir, phone.app.cacheDir).flatMap { it.walkTopDown().toList() }
            .filter { it.isFile && it.length() > 1000 && isJpeg(it) }
        assertEquals("files that still hold it", emptyList<File>(), left)
    }

    private fun isJpeg(file: File) = file.inputStream().use { it.read() == 0xFF && it.read() == 0xD8 }

    @Test
    fun thePhotoArrivesThoughTheProcessEnded() {
        phone.open()
        phone.photo(OtherApps.jpeg(BLUE), died = true)
        phone.waitFor("the picture is to be shown", 20) { phone.seesColour(BLUE) }
    }

    @Test
    fun noPickerAndNoCameraAreToldOf() {
        shadowOf(phone.app).checkActivities(true)
        phone.open().tap("Add a picture").tap(Words.CHOOSE)
        assertTrue("${phone.toast()}", phone.toast().orEmpty().contains("pick"))
        phone.tap("Add a picture").tap(Words.TAKE)
        phone.waitFor("the camera is to be named", 20) { phone.toast().orEmpty().contains("camera") }
    }

    @Test
    @Category(Slow::class)
    fun anEndlessPictureIsRefused() {
        var given = 0L
        val endless = object : java.io.InputStream() {
            override fun read() = 0
            override fun read(buffer: ByteArray, from: Int, count: Int): Int {
                given += count
                if (given > 600L shl 20) throw IOException("the test has seen enough")
                return count
            }
        }
        phone.open().choose(OtherApps.pictureFrom { endless })
        phone.waitFor("an end", 60) { phone.toast() != null }
        assertTrue("${given shr 20} MiB were copied", given < 600L shl 20)
    }
}
