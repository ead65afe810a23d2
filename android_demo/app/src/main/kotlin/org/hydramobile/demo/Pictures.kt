/*
 * Picture files to pixels, by Android's decoders.
 */
package org.hydramobile.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.ExifInterface
import android.util.LruCache
import android.view.View
import android.widget.ImageView
import org.hydramobile.core.DecodedPicture
import org.hydramobile.core.GrayPng
import org.hydramobile.core.Orientation
import org.hydramobile.core.PictureDecoder
import org.hydramobile.screens.PictureStore
import org.hydramobile.screens.Problem
import org.hydramobile.screens.ProblemException
import java.io.File
import java.io.IOException
import java.util.concurrent.Executor

/** More than any recipe reads, and 16 MiB of bitmap rather than the 200 of a large camera. */
private const val MOST_PIXELS = 4 shl 20
private const val SHOWN_PIXELS = 1 shl 18

/** A strip is made square for the model, and work grows with the square of its length. */
private const val LONGEST_SIDE = 4096

/** Pictures as they are stored, for batches, whose pixels a host compares. */
internal object StoredPictures : PictureDecoder {
    override fun decode(file: File): DecodedPicture = pixelsOf(file, 1)
}

/** A picture that is asked about, upright. IOException: it cannot be read. */
internal fun readPicture(file: File): DecodedPicture = upright(file, MOST_PIXELS)

/** IOException: [file] is no picture that can be decoded. */
internal fun requirePicture(file: File) {
    upright(file, SHOWN_PIXELS)
}

/** Small pictures for the screens: decoded on [hands], kept while there is room. For the thread of the screens. */
internal class Thumbnails(private val store: PictureStore, private val hands: Executor, private val screens: Executor) {
    private val kept = LruCache<String, Bitmap>(MOST)

    /** Show the picture with [id] in [view]; null, or one that is gone: no view. */
    fun show(view: ImageView, id: String?) {
        view.clipToOutline = true
        if (id != null && view.tag == id && view.drawable != null) return
        view.tag = id
        val bitmap = id?.let { kept.get(it) }
        if (bitmap == null) view.setImageDrawable(null) else view.setImageBitmap(bitmap)
        view.visibility = if (id == null) View.GONE else View.VISIBLE
        if (id == null || bitmap != null) return
        hands.execute {
            val decoded = try {
                upright(store.file(id), SHOWN_PIXELS)
                    .run { Bitmap.createBitmap(argb, width, height, Bitmap.Config.ARGB_8888) }
            } catch (_: IOException) {
                null
            }
            screens.execute { decoded(view, id, decoded) }
        }
    }

    private fun decoded(view: ImageView, id: String, bitmap: Bitmap?) {
        if (bitmap != null) kept.put(id, bitmap)
        // The row may show another turn by now.
        if (view.tag != id) return
        if (bitmap == null) view.visibility = View.GONE else view.setImageBitmap(bitmap)
    }

    private companion object {
        const val MOST = 24
    }
}

private fun upright(file: File, pixels: Int) =
    Orientation.upright(pixelsOf(file, reduction(file, pixels)), orientationOf(file))

/** Android's decoders give no reason. */
private fun unreadable(file: File) =
    ProblemException(Problem(if (file.isFile) Problem.PICTURE_FORMAT else Problem.PICTURE_GONE))

private fun pixelsOf(file: File, reduction: Int): DecodedPicture {
    GrayPng.read(file, reduction)?.let { return it }
    val options = BitmapFactory.Options()
    // Colours multiplied by their alpha would lose digits.
    options.inPremultiplied = false
    options.inPreferredConfig = Bitmap.Config.ARGB_8888
    options.inSampleSize = reduction
    val bitmap = BitmapFactory.decodeFile(file.path, options) ?: throw unreadable(file)
    val argb = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return DecodedPicture(argb, bitmap.width, bitmap.height).also { bitmap.recycle() }
}

/** The power of two by which both sides are reduced so that at most [pixels] and [LONGEST_SIDE] are left. */
private fun reduction(file: File, pixels: Int): Int {
    val bounds = BitmapFactory.Options()
    bounds.inJustDecodeBounds = true
    BitmapFactory.decodeFile(file.path, bounds)
    if (bounds.outWidth <= 0 || bounds.outHeight <= 0) throw unreadable(file)
    var reduction = 1
    val area = bounds.outWidth.toLong() * bounds.outHeight
    val longest = maxOf(bounds.outWidth, bounds.outHeight)
    while (area / (reduction.toLong() * reduction) > pixels || longest / reduction > LONGEST_SIDE) reduction *= 2
    return reduction
}

private fun orientationOf(file: File): Int = try {
    ExifInterface(file.path).getAttributeInt(ExifInterface.TAG_ORIENTATION, Orientation.UPRIGHT)
} catch (_: IOException) {
    // Formats without Exif.
    Orientation.UPRIGHT
}
