/*
 * UTF-8 by Unicode's rule for broken text, the same on every device.
 *
 * Android's and the JVM's decoders disagree about what broken bytes become; Python's and Rust's agree with
 * each other and with this. Knows no tokenizer. Called by the JSON reader and the tokenizer.
 */
package org.hydramobile.core

/** Encoding and decoding of UTF-8 without the platform's own decoder. */
object Utf8 {
    const val REPLACEMENT = '\uFFFD'

    /** Text of [bytes]; each longest beginning of a character that is not completed becomes one U+FFFD. */
    fun decode(bytes: ByteArray, count: Int = bytes.size): String {
        val text = StringBuilder(count)
        var at = 0
        while (at < count) {
            val length = characterAt(bytes, at, count)
            if (length > 0) text.appendCodePoint(codePoint(bytes, at, length)) else text.append(REPLACEMENT)
            at += Math.abs(length)
        }
        return text.toString()
    }

    /** Offset of the first byte that is no UTF-8, or -1 where all of them are. */
    fun firstBroken(bytes: ByteArray): Int {
        var at = 0
        while (at < bytes.size) {
            val length = characterAt(bytes, at, bytes.size)
            if (length < 0) return at
            at += length
        }
        return -1
    }

    /** Bytes of [text]; a surrogate without its other half becomes U+FFFD. */
    fun encode(text: String): ByteArray {
        val bytes = ByteArray(3 * text.length)
        var size = 0
        var at = 0
        while (at < text.length) {
            val point = codePointAt(text, at)
            at += Character.charCount(point)
            when {
                point < 0x80 -> bytes[size++] = point.toByte()
                point < 0x800 -> bytes[size++] = (0xC0 or (point shr 6)).toByte()
                point < 0x10000 -> bytes[size++] = (0xE0 or (point shr 12)).toByte()
                else -> bytes[size++] = (0xF0 or (point shr 18)).toByte()
            }
            if (point >= 0x10000) bytes[size++] = continuation(point shr 12)
            if (point >= 0x800) bytes[size++] = continuation(point shr 6)
            if (point >= 0x80) bytes[size++] = continuation(point)
        }
        return bytes.copyOf(size)
    }

    /** Code point of [text] at [at], U+FFFD for half a surrogate pair. */
    fun codePointAt(text: String, at: Int): Int {
        val point = text.codePointAt(at)
        return if (point in 0xD800..0xDFFF) REPLACEMENT.code else point
    }

    private fun continuation(bits: Int) = (0x80 or (bits and 0x3F)).toByte()

    /** Bytes of the character at [at], or minus the bytes that stand for one broken character. */
    private fun characterAt(bytes: ByteArray, at: Int, end: Int): Int {
        val lead = bytes[at].toInt() and 0xFF
        val length = when (lead) {
            in 0x00..0x7F -> return 1
            in 0xC2..0xDF -> 2
            in 0xE0..0xEF -> 3
            in 0xF0..0xF4 -> 4
            else -> return -1
        }
        for (offset in 1 until length) {
            if (at + offset >= end) return -offset
            val next = bytes[at + offset].toInt() and 0xFF
            // The second byte tells overlong forms, surrogates and what lies beyond U+10FFFF.
            val lowest = if (offset > 1) {
                0x80
            } else if (lead == 0xE0) {
                0xA0
            } else if (lead == 0xF0) {
                0x90
            } else {
                0x80
            }
            val highest = if (offset > 1) {
                0xBF
            } else if (lead == 0xED) {
                0x9F
            } else if (lead == 0xF4) {
                0x8F
            } else {
                0xBF
            }
            if (next < lowest || next > highest) return -offset
        }
        return length
    }

    private fun codePoint(bytes: ByteArray, at: Int, length: Int): Int {
        if (length == 1) return bytes[at].toInt()
        var point = bytes[at].toInt() and (0xFF shr (length + 1))
        for (offset in 1 until length) point = (point shl 6) or (bytes[at + offset].toInt() and 0x3F)
        return point
    }
}
