/*
 * The app's own bridge to ExecuTorch's C++ interface: `src/main/cpp/hydra_et.cpp`.
 *
 * ExecuTorch's Java classes are not used: they want fbjni. What is wrong with a call arrives as an exception before
 * ExecuTorch sees it, because there it would end the process.
 */
package org.hydramobile.runtime.et

import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer

/**
 * The native functions. One thread at a time.
 *
 * IllegalArgumentException: a call is wrong. IllegalStateException: ExecuTorch refused or failed. OutOfMemoryError:
 * memory is short.
 */
internal object Native {
    /** Find the library; UnsatisfiedLinkError: it is missing, or for other processors. */
    fun open() = System.loadLibrary("hydra_et")

    /** Load the program at [path]; [threads] 0: one for each fast core. Returns its handle. */
    @JvmStatic
    external fun load(path: String, threads: Int): Long

    /** Threads that ExecuTorch computes with, in this process. */
    @JvmStatic
    external fun threads(): Int

    /**
     * Run a method on direct buffers, FloatBuffer or LongBuffer in native order, of the given [shapes].
     *
     * Writes its output, float32, to the beginning of [output] and returns the number of values. The program reads the
     * buffers' memory from its beginning, whatever their positions are.
     */
    @JvmStatic
    external fun run(
        handle: Long,
        method: String,
        inputs: Array<Buffer>,
        shapes: Array<LongArray>,
        output: FloatBuffer,
    ): Int

    /** Release a program; its [handle] must not be used again. */
    @JvmStatic
    external fun close(handle: Long)

    fun floats(count: Int): FloatBuffer =
        ByteBuffer.allocateDirect(count * Float.SIZE_BYTES).order(ByteOrder.nativeOrder()).asFloatBuffer()

    fun longs(count: Int): LongBuffer =
        ByteBuffer.allocateDirect(count * Long.SIZE_BYTES).order(ByteOrder.nativeOrder()).asLongBuffer()
}
