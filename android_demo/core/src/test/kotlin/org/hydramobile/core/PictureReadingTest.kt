package org.hydramobile.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException
import javax.imageio.ImageIO
import kotlin.math.abs

/** Picture files become the colours that Python reads: eight orientations, 8 and 16 bits, either rule. */
class PictureReadingTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private val desktop = PictureDecoder { file ->
        val image = ImageIO.read(file) ?: throw IOException("no format that is known")
        DecodedPicture(image.getRGB(0, 0, image.width, image.height, null, 0, image.width), image.width, image.height)
    }

    @Test
    fun eachFile() {
        val folder = Vectors.file("pictures")
        val orientations = HashSet<Int>()
        for (entry in Vectors.list(File(folder, "read.json"))) {
            val turn = entry.boolean("turn")
            val file = File(folder, entry.string("file"))
            val picture = PictureReading(desktop, turn).read(file)
            val where = "${file.name}, turn $turn"
            assertEquals(where, entry.int("width"), picture.width)
            assertEquals(where, entry.int("height"), picture.height)
            val expected = File(folder, entry.string("rgb")).readBytes()
            val found = rgb(picture)
            assertEquals(where, expected.size, found.size)
            val worst = expected.indices.maxOf { abs((expected[it].toInt() and 0xFF) - (found[it].toInt() and 0xFF)) }
            assertTrue("$where: $worst levels", worst <= entry.int("within"))
            orientations.add(ExifOrientation.of(file))
        }
        assertEquals((1..8).toSet(), orientations)
    }

    @Test
    fun webp() {
        val tiff = "II*\u0000\u0008\u0000\u0000\u0000\u0001\u0000\u0012\u0001\u0003\u0000\u0001\u0000\u0000\u0000" +
            "\u0006\u0000\u0000\u0000"
        for (mark in listOf("", "Exif\u0000\u0000")) {
            val exif = mark + tiff
            val text = "RIFF----WEBPVP8 \u0003\u0000\u0000\u0000abc-EXIF${exif.length.toChar()}\u0000\u0000\u0000$exif"
            assertEquals(6, ExifOrientation.of(text.toByteArray(Charsets.ISO_8859_1)))
        }
    }

    @Test
    fun whatIsCutShortOrChanged() {
        val folder = Vectors.file("pictures")
        val whole = File(folder, "deep1.png").readBytes()
        for (length in whole.indices) {
            val cut = temporary.newFile().apply { writeBytes(whole.copyOf(length)) }
            try {
                // Behind the data there may be nothing that is missed.
                val read = GrayPng.read(cut)
                assertTrue("$length bytes", if (length < 33) read == null else length > whole.size - 100)
            } catch (error: IOException) {
                assertTrue("$length bytes: $error", length >= 33)
            }
            ExifOrientation.of(cut)
        }
        assertNull(GrayPng.read(File(folder, "color1.png")))
    }

    @Test
    fun reduced() {
        val file = File(Vectors.file("pictures"), "deep1.png")
        val whole = GrayPng.read(file)!!
        val half = GrayPng.read(file, 2)!!
        assertEquals(whole.width / 2, half.width)
        assertEquals(whole.height / 2, half.height)
        assertEquals(whole.argb[2 * whole.width + 4], half.argb[half.width + 2])
    }

    /** R, G, B of each pixel, as [ImagePreprocessor] sees them. */
    private fun rgb(picture: DecodedPicture): ByteArray {
        val rows = ArgbRows(picture.argb, picture.width, picture.height)
        val row = ByteArray(3 * picture.width)
        return (0 until picture.height).map { rows.read(it, row).let { row.copyOf() } }.reduce(ByteArray::plus)
    }
}
