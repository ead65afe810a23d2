/*
 * A picture to pixels: the recipe is data of the bundle, the arithmetic that of
 * `hydra_mobile/models/preprocessing.py`, equal to it bit for bit.
 *
 * Knows no model and no file format; the app decodes pictures, turned upright and without premultiplied alpha.
 */
package org.hydramobile.core

/** How a picture that is not square becomes square. */
enum class Fit {
    /** With the mean colour around it. */
    PAD,

    /** The middle of it. */
    CROP,

    /** Distorted. */
    STRETCH,
    ;

    companion object {
        /** The name in manifests and requests. JsonException: there is none; [expected] are those that may be. */
        fun named(name: String, where: String, expected: String = "pad, crop or stretch"): Fit =
            values().firstOrNull { it.name.lowercase() == name }
                ?: throw JsonException("$where: `fit` is \"${name.take(40)}\", expected $expected.")
    }
}

/**
 * The manifest's `image`: side of a square in pixels; mean and deviation of red, green and blue in units of [0, 1].
 *
 * [tiles]: the squares of a picture; null: it is one.
 */
class ImageRecipe internal constructor(
    val size: Int,
    internal val mean: DoubleArray,
    internal val std: DoubleArray,
    val fit: Fit,
    internal val filter: Filter,
    val tiles: Tiles? = null,
) {
    /** How many squares a picture becomes. */
    val squares: Int get() = tiles?.count ?: 1

    /** Values of one square's pixels. */
    val squareValues: Int get() = CHANNELS * size * size

    /** The same recipe with another way to become one square, which some benchmarks ask for; tiles stay tiles. */
    fun with(fit: Fit) = if (tiles == null) ImageRecipe(size, mean, std, fit, filter) else this

    companion object {
        private const val LARGEST = 4096
        private const val CHANNELS = 3
        private const val TILES = "tiles"

        /** JsonException: a key is missing or has an unknown value. */
        fun of(json: JsonObject): ImageRecipe {
            val size = json.int("size")
            if (size !in 1..LARGEST) {
                throw JsonException("${json.where}: key `size` is $size, expected 1 to $LARGEST.")
            }
            val mean = json.doubles("mean")
            val std = json.doubles("std")
            if (mean.size != 3 || mean.any { it < 0 || it > 1 }) {
                val found = "key `mean` is ${mean.asList()}"
                throw JsonException("${json.where}: $found, expected three numbers from 0 to 1.")
            }
            if (std.size != 3 || std.any { it <= 0 }) {
                throw JsonException("${json.where}: key `std` is ${std.asList()}, expected three numbers above 0.")
            }
            val filter = when (val name = json.string("resample")) {
                "bicubic" -> Filter.BICUBIC

                "bilinear" -> Filter.BILINEAR

                "lanczos" -> Filter.LANCZOS

                else -> throw JsonException(
                    "${json.where}: `resample` is \"${name.take(40)}\", expected bicubic, bilinear or lanczos.",
                )
            }
            val fit = json.string("fit")
            if ((fit == TILES) == json.lacks(TILES)) {
                throw JsonException("${json.where}: `tiles` and `fit` \"tiles\" belong together.")
            }
            if (fit != TILES) {
                val one = Fit.named(fit, json.where, "pad, crop, stretch or tiles")
                return ImageRecipe(size, mean, std, one, filter)
            }
            // The grid is stretched, and so is the overview.
            val recipe = ImageRecipe(size, mean, std, Fit.STRETCH, filter, Tiles.of(json.child(TILES)))
            if (recipe.squares.toLong() * recipe.squareValues > Int.MAX_VALUE) {
                throw JsonException("${json.where}: ${recipe.squares} tiles of $size pixels are more than can be held.")
            }
            return recipe
        }
    }
}

/** Applies one recipe. */
class ImagePreprocessor(val recipe: ImageRecipe) {
    /**
     * Pixels float32 [squares, 3, size, size] of a picture of [width] * [height] colours 0xAARRGGBB, row by row.
     *
     * Transparent pixels are shown on white; colours must not be premultiplied by their alpha.
     *
     * @throws IllegalArgumentException [argb] has another length.
     */
    fun preprocess(argb: IntArray, width: Int, height: Int): FloatArray {
        require(width > 0 && height > 0 && argb.size.toLong() == width.toLong() * height) {
            "the picture has ${argb.size} pixels, expected $width * $height"
        }
        var rows: Rows = ArgbRows(argb, width, height)
        val tiles = recipe.tiles
        if (tiles != null) return normalised(tiles.squares(rows, recipe.size, recipe.filter))
        if (width != height && recipe.fit == Fit.PAD) rows = PaddedRows(rows, recipe.mean)
        if (width != height && recipe.fit == Fit.CROP) rows = cropped(rows)
        return normalised(listOf(Resample.resize(rows, recipe.size, recipe.size, recipe.filter)))
    }

    /** The middle of a picture whose shortest side is `size`. */
    private fun cropped(picture: Rows): Rows {
        val size = recipe.size
        val shortest = minOf(picture.width, picture.height)
        val longest = maxOf(picture.width, picture.height)
        // Enlarging a strip of one pixel by thousands, to look at its middle, would take gigabytes.
        val excess = (maxOf(0L, longest - LONGEST_STRIP * shortest) / 2).toInt()
        val x = if (picture.width > picture.height) excess else 0
        val y = excess - x
        val part = CutRows(picture, x, y, picture.width - 2 * x, picture.height - 2 * y)

        // The long side is truncated to an integer.
        fun scaled(side: Int) = if (side == shortest) size else ((size.toLong() * side).toDouble() / shortest).toInt()
        val whole = Resample.resize(part, scaled(part.width), scaled(part.height), recipe.filter)
        return CutRows(whole, (whole.width - size) / 2, (whole.height - size) / 2, size, size)
    }

    private fun normalised(squares: List<Rows>): FloatArray {
        val size = recipe.size
        val pixels = FloatArray(squares.size * recipe.squareValues)
        val row = ByteArray(3 * size)
        for ((number, square) in squares.withIndex()) {
            for (y in 0 until size) {
                square.read(y, row)
                for (channel in 0 until 3) {
                    val mean = recipe.mean[channel].toFloat()
                    val std = recipe.std[channel].toFloat()
                    val start = number * recipe.squareValues + (channel * size + y) * size
                    for (x in 0 until size) {
                        val value = (row[3 * x + channel].toInt() and 0xFF).toFloat() / 255f
                        pixels[start + x] = (value - mean) / std
                    }
                }
            }
        }
        return pixels
    }

    private companion object {
        const val LONGEST_STRIP = 200L
    }
}
