/*
 * What a batch needs from where it runs, because Android and a desktop JVM do it differently.
 */
package org.hydramobile.core

import java.io.File
import java.io.IOException

/** A picture of [width] * [height] colours 0xAARRGGBB, row by row, not premultiplied. */
class DecodedPicture(val argb: IntArray, val width: Int, val height: Int)

/** Reads a picture file as it is stored, neither turned nor scaled; IOException: it cannot. */
fun interface PictureDecoder {
    fun decode(file: File): DecodedPicture
}

/** Tells the most memory that the process has held so far, in bytes; null where the system does not say. */
fun interface PeakMemory {
    fun bytes(): Long?

    companion object {
        /** Resident memory, from the kernel; Android and Linux have it. */
        val RESIDENT = PeakMemory { residentPeak(File("/proc/self/status")) }

        internal fun residentPeak(status: File): Long? = try {
            status.useLines { lines ->
                lines.firstOrNull { it.startsWith("VmHWM:") }?.filter { it.isDigit() }?.toLongOrNull()?.times(1024)
            }
        } catch (_: IOException) {
            null
        }
    }
}
