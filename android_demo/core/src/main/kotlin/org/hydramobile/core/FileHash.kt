/*
 * sha256 of a file, read in pieces, so that a gigabyte needs no memory and can be stopped.
 */
package org.hydramobile.core

import java.io.File
import java.io.IOException
import java.security.MessageDigest

/** Told after each piece how many bytes of all are done; false stops the check. */
fun interface CheckProgress {
    fun onBytes(done: Long, total: Long): Boolean
}

internal object FileHash {
    private const val PIECE = 1 shl 18

    /**
     * Lower-case hexadecimal sha256 of [file], or null where [onBytes] said false.
     *
     * @throws IOException the file cannot be read.
     */
    fun sha256(file: File, onBytes: (Int) -> Boolean): String? {
        val digest = MessageDigest.getInstance("SHA-256")
        val piece = ByteArray(PIECE)
        file.inputStream().use { stream ->
            while (true) {
                val count = stream.read(piece)
                if (count < 0) break
                digest.update(piece, 0, count)
                if (!onBytes(count)) return null
            }
        }
        return hexadecimal(digest)
    }

    /** Lower-case hexadecimal sha256 of [bytes]. */
    fun sha256(bytes: ByteArray): String = hexadecimal(MessageDigest.getInstance("SHA-256").also { it.update(bytes) })

    private fun hexadecimal(digest: MessageDigest): String =
        digest.digest().joinToString("") { "%02x".format(it.toInt() and 0xFF) }
}
