package org.hydramobile.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assume.assumeTrue
import org.junit.Before
import org.junit.Test
import java.io.File
import javax.imageio.ImageIO

/** A bundle as the exporter wrote it, named by the system property `hydra.bundle`, passes its own golden cases. */
class RealBundleTest {
    private lateinit var folder: File

    @Before
    fun find() {
        val name = System.getProperty("hydra.bundle")
        val reason = "skipped: -Dhydra.bundle=FOLDER is not set; `hydra-mobile export --target android` writes one"
        if (name == null) println(reason)
        assumeTrue(reason, name != null)
        folder = File(name!!)
    }

    @Test
    fun opensAndAgreesWithItsGoldenCases() {
        val phone = DeviceLimits(8L shl 30, 12L shl 30, listOf("arm64-v8a"), 34)
        val start = System.nanoTime()
        val bundle = Bundle.open(folder, phone)
        val checked = System.nanoTime()
        val tokenizer = bundle.tokenizer
        val ready = System.nanoTime()
        println("checked in ${(checked - start) / 1_000_000} ms, tokenizer read in ${(ready - checked) / 1_000_000} ms")
        val cases = Json.parseObject(bundle.file("golden").readBytes(), "golden.json").objects("cases")
        for (case in cases) {
            val prompt = bundle.template.prompt(case.string("question"), !case.lacks("image"))
            assertArrayEquals(case.ints("before"), prompt.before)
            assertArrayEquals(case.ints("after"), prompt.after)
            assertEquals(case.string("text"), tokenizer.answer(case.ints("ids")))
            if (!case.lacks("image")) comparePixels(bundle, case)
        }
    }

    private fun comparePixels(bundle: Bundle, case: JsonObject) {
        val picture = ImageIO.read(File(folder, case.string("image")))
        val argb = picture.getRGB(0, 0, picture.width, picture.height, null, 0, picture.width)
        val pixels = bundle.preprocessor.preprocess(argb, picture.width, picture.height)
        val golden = case.child("pixels")
        val first = golden.doubles("first")
        for (index in first.indices) assertEquals(first[index], pixels[index].toDouble(), 0.0)
        val mean = pixels.sumOf { it.toDouble() } / pixels.size
        assertEquals(golden.double("mean"), mean, 1e-5)
        assertEquals(golden.double("std"), Math.sqrt(pixels.sumOf { (it - mean) * (it - mean) } / pixels.size), 1e-5)
    }

    @Test
    fun theEstimateIsTheManifests() {
        val bundle = Bundle.open(folder, verifyHashes = false)
        val manifest = Json.parseObject(File(folder, Manifest.NAME).readBytes(), Manifest.NAME)
        assertEquals(manifest.child("footprint").long("peak"), bundle.manifest.footprint!!.peak)
    }
}
