/*
 * Picture files to colours, by the rules of `hydra_mobile/models/pictures.py`.
 */
package org.hydramobile.core

import java.io.File
import java.io.IOException

/**
 * Reads picture files with [decoder], and grays of 16 bits without it.
 *
 * [turn]: what a person sees, turned as Exif says and with transparent pixels to be shown on white; false: as the
 * pixels are stored and opaque, which is how published benchmarks score them.
 */
class PictureReading(private val decoder: PictureDecoder, private val turn: Boolean) {
    /** IOException: it cannot be read. */
    fun read(file: File): DecodedPicture {
        val stored = GrayPng.read(file) ?: decoder.decode(file)
        if (turn) return Orientation.upright(stored, ExifOrientation.of(file))
        for (index in stored.argb.indices) stored.argb[index] = stored.argb[index] or OPAQUE
        return stored
    }

    private companion object {
        const val OPAQUE = 0xFF shl 24
    }
}
