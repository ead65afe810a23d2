/*
 * The orientation that a picture's file tells: `native/src/orientation.cpp`, and WebP.
 *
 * Damaged metadata mean upright, as for viewers.
 */
package org.hydramobile.core

import java.io.File

/** The Exif tag Orientation of JPEG, PNG and WebP files. */
object ExifOrientation {
    private const val TAG = 0x0112

    /** 1 to 8; [Orientation.UPRIGHT] where there is none. IOException: the file cannot be read. */
    fun of(file: File): Int = of(file.readBytes())

    internal fun of(file: ByteArray): Int {
        val bytes = Bytes(file, 0, file.size)
        return when {
            bytes.starts(0, "\u00FF\u00D8") -> inJpeg(bytes)
            bytes.starts(0, "\u0089PNG") -> inPng(bytes)
            bytes.starts(0, "RIFF") && bytes.starts(8, "WEBP") -> inWebp(bytes)
            else -> Orientation.UPRIGHT
        }
    }

    private fun inJpeg(file: Bytes): Int {
        var at = 2L
        while (at + 4 <= file.size && file.number(at, 1) == 0xFFL) {
            val marker = file.number(at + 1, 1)
            val length = file.number(at + 2, 2)
            if (marker == 0xDAL || length < 2) break // the pixels follow
            if (marker == 0xE1L && file.starts(at + 4, EXIF)) return inTiff(file.from(at + 10, length - 8))
            at += 2 + length
        }
        return Orientation.UPRIGHT
    }

    private fun inPng(file: Bytes): Int {
        var at = 8L
        while (at + 12 <= file.size) {
            val length = file.number(at, 4)
            if (file.starts(at + 4, "eXIf")) return inTiff(file.from(at + 8, length))
            if (file.starts(at + 4, "IEND")) break
            at += 12 + length
        }
        return Orientation.UPRIGHT
    }

    private fun inWebp(file: Bytes): Int {
        var at = 12L
        while (at + 8 <= file.size) {
            val length = file.number(at + 4, 4, little = true)
            if (file.starts(at, "EXIF")) {
                // Some writers put JPEG's mark before it.
                val mark = if (file.starts(at + 8, EXIF)) EXIF.length else 0
                return inTiff(file.from(at + 8 + mark, length - mark))
            }
            at += 8 + length + length % 2
        }
        return Orientation.UPRIGHT
    }

    /** The TIFF structure in which Exif is written. */
    private fun inTiff(tiff: Bytes): Int {
        val little = tiff.starts(0, "II")
        if (!little && !tiff.starts(0, "MM")) return Orientation.UPRIGHT
        val directory = tiff.number(4, 4, little)
        for (index in 0 until tiff.number(directory, 2, little)) {
            val entry = directory + 2 + 12 * index
            if (entry + 12 > tiff.size) break
            if (tiff.number(entry, 2, little) != TAG.toLong()) continue
            val value = tiff.number(entry + 8, 2, little).toInt()
            return if (value in 1..8) value else Orientation.UPRIGHT
        }
        return Orientation.UPRIGHT
    }

    private const val EXIF = "Exif\u0000\u0000"

    /** Bytes that are never read beyond their end: what is not there is 0. */
    private class Bytes(private val all: ByteArray, private val first: Int, val size: Int) {
        fun starts(at: Long, text: String) =
            at + text.length <= size && text.indices.all { number(at + it, 1) == text[it].code.toLong() }

        fun from(at: Long, count: Long): Bytes {
            val start = at.coerceIn(0, size.toLong()).toInt()
            return Bytes(all, first + start, count.coerceIn(0, (size - start).toLong()).toInt())
        }

        fun number(at: Long, count: Int, little: Boolean = false): Long {
            var value = 0L
            for (index in 0 until count) {
                val place = at + if (little) count - 1 - index else index
                val byte = if (place < size) all[first + place.toInt()].toInt() and 0xFF else 0
                value = value shl 8 or byte.toLong()
            }
            return value
        }
    }
}
