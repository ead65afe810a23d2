/*
 * PNG files of 16-bit grays (PNG specification, 3rd edition, sections 7 to 10).
 *
 * Systems' decoders cut them to their upper 8 bits, which is darker than Python reads them: there white, 65,535, is
 * 257 * 255, and grays become the nearest of 0 to 255.
 */
package org.hydramobile.core

import java.io.DataInputStream
import java.io.EOFException
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.util.zip.InflaterInputStream
import kotlin.math.abs

/** A decoder for this one kind of PNG. */
object GrayPng {
    /** As `MOST_PIXELS` of `hydra_mobile/models/pictures.py`. */
    private const val MOST_PIXELS = 128_000_000L
    private const val SIGNATURE = -0x76afb1b8f2f5e5f6L
    private const val HEADER = 0x49484452
    private const val DATA = 0x49444154

    /** First column and row of each of Adam7's passes, and the distances to the next. */
    private val ADAM7 = listOf(
        Pass(0, 0, 8, 8),
        Pass(4, 0, 8, 8),
        Pass(0, 4, 4, 8),
        Pass(2, 0, 4, 4),
        Pass(0, 2, 2, 4),
        Pass(1, 0, 2, 2),
        Pass(0, 1, 1, 2),
    )

    private class Pass(val left: Int, val top: Int, val right: Int, val down: Int)

    /**
     * The picture in [file]; null: it is of another kind.
     *
     * [reduction]: of this many columns and rows one is kept. IOException: it cannot be read.
     */
    fun read(file: File, reduction: Int = 1): DecodedPicture? =
        DataInputStream(file.inputStream().buffered()).use { stream ->
            val header = ByteArray(HEADER_BYTES)
            try {
                stream.readFully(header)
            } catch (_: EOFException) {
                return null
            }
            val fields = DataInputStream(header.inputStream())
            if (fields.readLong() != SIGNATURE || fields.readInt() != 13 || fields.readInt() != HEADER) return null
            val width = fields.readInt()
            val height = fields.readInt()
            if (fields.readByte().toInt() != 16 || fields.readByte().toInt() != 0) return null
            if (width <= 0 || height <= 0 || width.toLong() * height > MOST_PIXELS) {
                throw IOException("it is too large, or empty: $width x $height pixels")
            }
            fields.skipBytes(2)
            val passes = if (fields.readByte().toInt() == 1) ADAM7 else listOf(Pass(0, 0, 1, 1))
            val canvas = Canvas(width, height, reduction)
            val pixels = DataInputStream(InflaterInputStream(Data(stream)).buffered())
            for (pass in passes) canvas.fill(pass, pixels)
            // The checksum is compared where the data end.
            pixels.read()
            canvas.picture()
        }

    private const val HEADER_BYTES = 8 + 8 + 13 + 4

    private class Canvas(private val width: Int, private val height: Int, private val reduction: Int) {
        private val outWidth = maxOf(1, width / reduction)
        private val outHeight = maxOf(1, height / reduction)
        private val argb = IntArray(outWidth * outHeight)

        fun picture() = DecodedPicture(argb, outWidth, outHeight)

        fun fill(pass: Pass, pixels: DataInputStream) {
            if (pass.left >= width || pass.top >= height) return
            val columns = (width - pass.left + pass.right - 1) / pass.right
            var above = ByteArray(2 * columns)
            var row = ByteArray(2 * columns)
            for (y in pass.top until height step pass.down) {
                val filter = pixels.readUnsignedByte()
                pixels.readFully(row)
                unfilter(filter, row, above)
                for (index in 0 until columns) put(pass.left + index * pass.right, y, row, index)
                above = row.also { row = above }
            }
        }

        private fun put(x: Int, y: Int, row: ByteArray, index: Int) {
            if (x % reduction != 0 || y % reduction != 0) return
            if (x / reduction >= outWidth || y / reduction >= outHeight) return
            val deep = (row[2 * index].toInt() and 0xFF shl 8) or (row[2 * index + 1].toInt() and 0xFF)
            argb[y / reduction * outWidth + x / reduction] = (0xFF shl 24) or ((deep + 128) / 257) * 0x010101
        }
    }

    private fun unfilter(filter: Int, row: ByteArray, above: ByteArray) {
        if (filter !in 0..4) throw IOException("a row has the filter $filter")
        for (at in row.indices) {
            val left = if (at < 2) 0 else row[at - 2].toInt() and 0xFF
            val up = above[at].toInt() and 0xFF
            val corner = if (at < 2) 0 else above[at - 2].toInt() and 0xFF
            val predicted = when (filter) {
                0 -> 0
                1 -> left
                2 -> up
                3 -> (left + up) / 2
                else -> paeth(left, up, corner)
            }
            row[at] = (row[at] + predicted).toByte()
        }
    }

    private fun paeth(left: Int, up: Int, corner: Int): Int {
        val guess = left + up - corner
        val byLeft = abs(guess - left)
        val byUp = abs(guess - up)
        val byCorner = abs(guess - corner)
        return if (byLeft <= byUp && byLeft <= byCorner) {
            left
        } else if (byUp <= byCorner) {
            up
        } else {
            corner
        }
    }

    /** The content of all data chunks of [stream], one after the other. */
    private class Data(private val stream: DataInputStream) : InputStream() {
        private var left = 0
        private var isOpen = false
        private var isBegun = false

        override fun read(): Int = if (more()) stream.readUnsignedByte().also { left-- } else -1

        override fun read(into: ByteArray, from: Int, count: Int): Int {
            if (count == 0) return 0
            if (!more()) return -1
            val read = stream.read(into, from, minOf(count, left))
            if (read > 0) left -= read
            return read
        }

        /** Whether a byte is left; goes to the next data chunk where none is in this one. */
        private fun more(): Boolean {
            while (left == 0) {
                if (isOpen) stream.readInt() // the checksum of the chunk that ended
                isOpen = false
                val length = stream.readInt()
                if (length < 0) throw IOException("a chunk has the length $length")
                if (stream.readInt() == DATA) {
                    left = length
                    isOpen = true
                } else if (isBegun) {
                    return false
                } else {
                    passOver(length + 4L)
                }
                isBegun = isBegun || isOpen
            }
            return true
        }

        private fun passOver(count: Long) {
            var rest = count
            while (rest > 0) {
                val skipped = stream.skip(rest)
                if (skipped <= 0) throw IOException("the file ends within a chunk")
                rest -= skipped
            }
        }
    }
}
