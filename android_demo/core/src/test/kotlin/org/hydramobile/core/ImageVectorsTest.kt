package org.hydramobile.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import javax.imageio.ImageIO

/** Pixels of pictures of awkward sizes equal Python's, bit for bit. */
class ImageVectorsTest {
    @Test
    fun pixels() {
        val folder = Vectors.file("pictures")
        var compared = 0
        for (entry in Vectors.list(File(folder, "pictures.json"))) {
            val picture = ImageIO.read(File(folder, entry.string("png")))
            val argb = picture.getRGB(0, 0, picture.width, picture.height, null, 0, picture.width)
            val preprocessor = ImagePreprocessor(ImageRecipe.of(entry.child("recipe")))
            val found = preprocessor.preprocess(argb, picture.width, picture.height)
            val where = "${picture.width} x ${picture.height}, ${entry.child("recipe").values}"
            assertArrayEquals(where, floats(File(folder, entry.string("pixels"))), found, 0f)
            compared++
        }
        println("$compared pictures equal")
    }

    @Test
    fun anotherFit() {
        val recipe = ImageRecipe.of(Json.parseObject(PAD, "recipe"))
        val argb = IntArray(8) { -0x1000000 or it }
        val stretched = ImagePreprocessor(recipe.with(Fit.STRETCH)).preprocess(argb, 4, 2)
        val same = ImageRecipe.of(Json.parseObject(PAD.replace("pad", "stretch"), "recipe"))
        assertArrayEquals(ImagePreprocessor(same).preprocess(argb, 4, 2), stretched, 0f)
        assertEquals(false, stretched.contentEquals(ImagePreprocessor(recipe).preprocess(argb, 4, 2)))
    }

    @Test
    fun anotherFitOfTiles() {
        val tiles = """"tiles": {"rows": 1, "columns": 1, "overview": "grid", "texts": ["", ""]}, "fit": "tiles""""
        val recipe = ImageRecipe.of(Json.parseObject(PAD.replace("\"fit\": \"pad\"", tiles), "recipe"))
        val argb = IntArray(8) { -0x1000000 or it }
        val found = ImagePreprocessor(recipe.with(Fit.CROP)).preprocess(argb, 4, 2)
        assertEquals(2, recipe.squares)
        assertArrayEquals(ImagePreprocessor(recipe).preprocess(argb, 4, 2), found, 0f)
    }

    @Test(expected = IllegalArgumentException::class)
    fun tooFewPixels() {
        ImagePreprocessor(ImageRecipe.of(Json.parseObject(PAD, "recipe"))).preprocess(IntArray(3), 2, 2)
    }

    private fun floats(file: File): FloatArray {
        val buffer = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(buffer.remaining()).also(buffer::get)
    }

    private companion object {
        const val PAD = """
            {"size": 4, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "fit": "pad", "resample": "bicubic"}"""
    }
}
