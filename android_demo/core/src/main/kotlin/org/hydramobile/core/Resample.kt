/*
 * Resizing with Pillow's fixed-point arithmetic, equal to it bit for bit.
 *
 * As `native/src/resample.cpp`, with the pictures read row by row, so that a photograph is never copied as a
 * whole. Knows no recipe. Called by `ImagePreprocessor`.
 */
package org.hydramobile.core

import java.util.Arrays

/** A picture that gives its rows: RGB, a byte each, 3 * [width] bytes a row. */
internal interface Rows {
    val width: Int
    val height: Int

    /** Write row [y] into [row]. */
    fun read(y: Int, row: ByteArray)
}

/** A picture in memory. */
internal class Pixels(override val width: Int, override val height: Int) : Rows {
    val rgb = ByteArray(Math.multiplyExact(Math.multiplyExact(3, width), height))

    override fun read(y: Int, row: ByteArray) = System.arraycopy(rgb, 3 * width * y, row, 0, 3 * width)
}

internal enum class Filter(val reach: Double) {
    BILINEAR(1.0) {
        override fun weight(x: Double) = if (x < 1.0) 1.0 - x else 0.0
    },
    BICUBIC(2.0) {
        override fun weight(x: Double) = when {
            x < 1.0 -> ((A + 2.0) * x - (A + 3.0)) * x * x + 1
            x < 2.0 -> (((x - 5) * x + 8) * x - 4) * A
            else -> 0.0
        }
    },
    LANCZOS(3.0) {
        override fun weight(x: Double) = if (x < 3.0) sinc(x) * sinc(x / 3.0) else 0.0
    }, ;

    /** Weight at a distance [x] from 0 on. */
    abstract fun weight(x: Double): Double
}

private const val A = -0.5

private fun sinc(x: Double) = if (x == 0.0) 1.0 else Math.sin(x * Math.PI) / (x * Math.PI)

internal object Resample {
    // Bits behind the point in a weight: 8 are the result's, 2 are room for overshoot.
    private const val FRACTION_BITS = 32 - 8 - 2
    private const val HALF = 1 shl (FRACTION_BITS - 1)

    /** [picture] at another size. */
    fun resize(picture: Rows, width: Int, height: Int, filter: Filter): Pixels {
        // Pillow 13 shrinks the height first where that leaves clearly less to do; each pass rounds to 8 bits,
        // so the order shows. (Pillow 12 always began with the width.)
        val narrower = picture.width.toLong() - width
        val lower = picture.height.toLong() - height
        var result = picture
        if (lower > 0 && lower > 2 * narrower) result = down(result, height, filter)
        if (width != result.width) result = across(result, width, filter)
        if (height != result.height) result = down(result, height, filter)
        return result as? Pixels ?: copy(result)
    }

    /** What one pixel of the result is made of: weights of the source pixels from [first] on. */
    private class Taps(val first: Int, val weights: IntArray)

    private fun taps(from: Int, to: Int, filter: Filter): Array<Taps> {
        val scale = from.toDouble() / to
        val stretch = maxOf(scale, 1.0) // shrinking widens the filter
        val reach = filter.reach * stretch
        return Array(to) { at ->
            val centre = (at + 0.5) * scale
            val first = maxOf(0, (centre - reach + 0.5).toInt())
            val end = minOf(from, (centre + reach + 0.5).toInt())
            val exact = DoubleArray(end - first) {
                filter.weight(Math.abs((it + first - centre + 0.5) * (1.0 / stretch)))
            }
            var sum = 0.0
            for (weight in exact) sum += weight
            Taps(first, IntArray(exact.size) { fixed(if (sum != 0.0) exact[it] / sum else exact[it]) })
        }
    }

    private fun fixed(share: Double) = ((if (share < 0) -0.5 else 0.5) + share * (1 shl FRACTION_BITS)).toInt()

    private fun byte(sum: Int): Byte = minOf(255, maxOf(0, sum shr FRACTION_BITS)).toByte()

    private fun across(picture: Rows, width: Int, filter: Filter): Pixels {
        val all = taps(picture.width, width, filter)
        val result = Pixels(width, picture.height)
        val row = ByteArray(3 * picture.width)
        var out = 0
        for (y in 0 until picture.height) {
            picture.read(y, row)
            for (taps in all) {
                var red = HALF
                var green = HALF
                var blue = HALF
                var at = 3 * taps.first
                for (weight in taps.weights) {
                    red += (row[at].toInt() and 0xFF) * weight
                    green += (row[at + 1].toInt() and 0xFF) * weight
                    blue += (row[at + 2].toInt() and 0xFF) * weight
                    at += 3
                }
                result.rgb[out++] = byte(red)
                result.rgb[out++] = byte(green)
                result.rgb[out++] = byte(blue)
            }
        }
        return result
    }

    private fun down(picture: Rows, height: Int, filter: Filter): Pixels {
        val all = taps(picture.height, height, filter)
        val result = Pixels(picture.width, height)
        val stride = 3 * picture.width
        val row = ByteArray(stride)
        val sums = IntArray(stride)
        for ((y, taps) in all.withIndex()) {
            Arrays.fill(sums, HALF)
            for ((index, weight) in taps.weights.withIndex()) {
                picture.read(taps.first + index, row)
                for (x in 0 until stride) sums[x] += (row[x].toInt() and 0xFF) * weight
            }
            for (x in 0 until stride) result.rgb[y * stride + x] = byte(sums[x])
        }
        return result
    }

    private fun copy(picture: Rows): Pixels {
        val result = Pixels(picture.width, picture.height)
        val row = ByteArray(3 * picture.width)
        for (y in 0 until picture.height) {
            picture.read(y, row)
            System.arraycopy(row, 0, result.rgb, y * row.size, row.size)
        }
        return result
    }
}
