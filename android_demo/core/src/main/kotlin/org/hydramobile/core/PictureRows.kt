/*
 * Views of a picture: on white, with a border, a part of it. None of them copies the picture.
 */
package org.hydramobile.core

/** Colours 0xAARRGGBB as RGB; what is transparent lies on white, rounded as Pillow's `alpha_composite` does. */
internal class ArgbRows(private val argb: IntArray, override val width: Int, override val height: Int) : Rows {
    override fun read(y: Int, row: ByteArray) {
        var out = 0
        for (at in y * width until (y + 1) * width) {
            val colour = argb[at]
            val alpha = colour ushr 24
            row[out++] = shown((colour ushr 16) and 0xFF, alpha)
            row[out++] = shown((colour ushr 8) and 0xFF, alpha)
            row[out++] = shown(colour and 0xFF, alpha)
        }
    }

    private fun shown(value: Int, alpha: Int): Byte {
        if (alpha == 255) return value.toByte()
        // Seven more bits than the result has, and a division by 255 from two shifts.
        val share = alpha * 255 * 255 * (1 shl BITS) / (alpha * 255 + 255 * (255 - alpha))
        val sum = value * share + 255 * (255 * (1 shl BITS) - share) + (0x80 shl BITS)
        return ((((sum shr 8) + sum) shr 8) shr BITS).toByte()
    }

    private companion object {
        const val BITS = 7
    }
}

/** A square with [picture] in its middle and the mean colour around it. */
internal class PaddedRows(private val picture: Rows, mean: DoubleArray) : Rows {
    override val width = maxOf(picture.width, picture.height)
    override val height = width
    private val left = (width - picture.width) / 2
    private val top = (height - picture.height) / 2

    // LLaVA truncates the mean colour to integers.
    private val border = ByteArray(3 * width) { (255 * mean[it % 3]).toInt().toByte() }
    private val inner = ByteArray(3 * picture.width)

    override fun read(y: Int, row: ByteArray) {
        System.arraycopy(border, 0, row, 0, border.size)
        if (y < top || y >= top + picture.height) return
        picture.read(y - top, inner)
        System.arraycopy(inner, 0, row, 3 * left, inner.size)
    }
}

/** The part of [picture] from ([left], [top]) on. */
internal class CutRows(
    private val picture: Rows,
    private val left: Int,
    private val top: Int,
    override val width: Int,
    override val height: Int,
) : Rows {
    private val whole = ByteArray(3 * picture.width)

    override fun read(y: Int, row: ByteArray) {
        picture.read(y + top, whole)
        System.arraycopy(whole, 3 * left, row, 0, 3 * width)
    }
}
