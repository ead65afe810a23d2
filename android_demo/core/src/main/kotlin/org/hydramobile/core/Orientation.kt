/*
 * Turning a picture upright: cameras store how they were held instead of turning the pixels.
 *
 * Knows the values of the Exif tag Orientation and no file format; `ExifOrientation` reads them.
 */
package org.hydramobile.core

/** The values 1 to 8 of Exif's Orientation (CIPA DC-008, 4.6.5). */
object Orientation {
    const val UPRIGHT = 1

    /** Whether width and height change places. */
    fun isTurned(orientation: Int): Boolean = orientation in 5..8

    /** [picture] as it was seen; a value that is none of the eight changes nothing. */
    fun upright(picture: DecodedPicture, orientation: Int): DecodedPicture {
        if (orientation !in 2..8) return picture
        val (width, height) = picture.width to picture.height
        val outWidth = if (isTurned(orientation)) height else width
        val outHeight = if (isTurned(orientation)) width else height
        val argb = IntArray(picture.argb.size)
        var at = 0
        for (y in 0 until outHeight) {
            for (x in 0 until outWidth) {
                // Where the stored picture has what is seen at (x, y).
                val column = when (orientation) {
                    2, 3 -> width - 1 - x
                    4 -> x
                    5, 6 -> y
                    else -> width - 1 - y
                }
                val row = when (orientation) {
                    2 -> y
                    3, 4 -> height - 1 - y
                    5, 8 -> x
                    else -> height - 1 - x
                }
                argb[at++] = picture.argb[row * width + column]
            }
        }
        return DecodedPicture(argb, outWidth, outHeight)
    }
}
