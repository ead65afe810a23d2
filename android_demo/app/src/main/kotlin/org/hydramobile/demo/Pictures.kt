/*
 * Picture files to pixels, by Android's decoders.
 */
package org.hydramobile.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.ExifInterface
import org.hydramobile.core.DecodedPicture
import org.hydramobile.core.GrayPng
import org.hydramobile.core.Orientation
import org.hydramobile.core.PictureDecoder
import org.hydramobile.screens.ChosenPicture
import java.io.File
import java.io.IOException
import java.io.InputStream

/** Pictures as they are stored, for batches, whose pixels a host compares. */
internal object StoredPictures : PictureDecoder {
    override fun decode(file: File): DecodedPicture = pixelsOf(file, 1)
}

/** The picture that is asked about, in a file of the app: the app that gave it may take it back. */
internal class PictureFile(private val file: File) {
    /** Null: there is none. */
    fun chosen(): ChosenPicture? {
        if (!file.isFile) return null
        return ChosenPicture("${file.lastModified()} ${file.length()}") { upright(MOST_PIXELS) }
    }

    /** For the screen; null: there is none. IOException: it cannot be read. */
    fun shown(): Bitmap? {
        if (!file.isFile) return null
        val picture = upright(SHOWN_PIXELS)
        return Bitmap.createBitmap(picture.argb, picture.width, picture.height, Bitmap.Config.ARGB_8888)
    }

    /** Take a picture's bytes; IOException: they cannot be read, or are no picture. The one before stays then. */
    fun take(stream: InputStream) {
        val temporary = File("${file.path}.tmp")
        try {
            stream.use { input -> temporary.outputStream().use { input.copyTo(it) } }
            take(temporary)
        } finally {
            temporary.delete()
        }
    }

    /** As [take], from a file that may be moved. */
    fun take(from: File) {
        boundsOf(from)
        if (!from.renameTo(file)) throw IOException("$from cannot be moved to $file")
    }

    fun remove() = file.delete()

    private fun upright(pixels: Int) = Orientation.upright(pixelsOf(file, reduction(file, pixels)), orientationOf(file))

    private companion object {
        /** More than any recipe reads, and 16 MiB of bitmap rather than the 200 of a large camera. */
        const val MOST_PIXELS = 4 shl 20
        const val SHOWN_PIXELS = 1 shl 20
    }
}

private fun pixelsOf(file: File, reduction: Int): DecodedPicture {
    GrayPng.read(file, reduction)?.let { return it }
    val options = BitmapFactory.Options()
    // Colours multiplied by their alpha would lose digits.
    options.inPremultiplied = false
    options.inPreferredConfig = Bitmap.Config.ARGB_8888
    options.inSampleSize = reduction
    val bitmap = BitmapFactory.decodeFile(file.path, options) ?: throw IOException("no format that Android knows")
    val argb = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return DecodedPicture(argb, bitmap.width, bitmap.height).also { bitmap.recycle() }
}

/** The power of two by which both sides are reduced so that at most [pixels] are left. */
private fun reduction(file: File, pixels: Int): Int {
    val bounds = boundsOf(file)
    var reduction = 1
    while (bounds.outWidth.toLong() * bounds.outHeight / (reduction.toLong() * reduction) > pixels) reduction *= 2
    return reduction
}

private fun boundsOf(file: File): BitmapFactory.Options {
    val options = BitmapFactory.Options()
    options.inJustDecodeBounds = true
    BitmapFactory.decodeFile(file.path, options)
    if (options.outWidth <= 0 || options.outHeight <= 0) throw IOException("no picture in a format that Android knows.")
    return options
}

private fun orientationOf(file: File): Int = try {
    ExifInterface(file.path).getAttributeInt(ExifInterface.TAG_ORIENTATION, Orientation.UPRIGHT)
} catch (_: IOException) {
    // Formats without Exif.
    Orientation.UPRIGHT
}
