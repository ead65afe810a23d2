/*
 * Tensors of zeros in memory that ONNX Runtime itself allocates.
 *
 * Android takes a direct buffer from the app's heap, which a cache of hundreds of megabytes would exhaust; Java's
 * API has no other way to make an empty tensor. So a graph of one node, written here byte by byte, makes it.
 * Called by `KeyValueCache`.
 */
package org.hydramobile.runtime.ort

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.ByteArrayOutputStream

internal class NativeZeros(private val environment: OrtEnvironment) : AutoCloseable {
    // Without the arena: it rounds large tensors up to a power of two.
    private val session: OrtSession = OrtSession.SessionOptions().use {
        it.setCPUArenaAllocator(false)
        it.setIntraOpNumThreads(1)
        environment.createSession(model(), it)
    }

    /** The tensor of a [shape], float32, held by the result that is to be closed. */
    fun make(shape: LongArray): OrtSession.Result =
        OnnxTensor.createTensor(environment, shape).use { session.run(mapOf("shape" to it)) }

    override fun close() = session.close()

    private companion object {
        const val OPSET = 21
        const val IR_VERSION = 10
        const val FLOAT = 1
        const val INT64 = 7

        /** ConstantOfShape, whose value is 0 where none is given. */
        fun model(): ByteArray {
            val node = text(1, "shape") + text(2, "zeros") + text(4, "ConstantOfShape")
            val graph = part(1, node) + text(2, "zeros") + part(11, value("shape", INT64, part(1, number(1, 4)))) +
                part(
                    12,
                    value(
                        "zeros", FLOAT,
                        part(1, ByteArray(0)) + part(1, ByteArray(0)) +
                            part(1, ByteArray(0)) + part(1, ByteArray(0)),
                    ),
                )
            return number(1, IR_VERSION) + part(7, graph) + part(8, number(2, OPSET))
        }

        /** A `ValueInfoProto`: name, type of the elements, and its dimensions. */
        fun value(name: String, type: Int, dimensions: ByteArray): ByteArray =
            text(1, name) + part(2, part(1, number(1, type) + part(2, dimensions)))

        fun number(field: Int, value: Int): ByteArray = varint(field shl 3) + varint(value)

        fun text(field: Int, value: String): ByteArray = part(field, value.toByteArray())

        fun part(field: Int, bytes: ByteArray): ByteArray = varint((field shl 3) or 2) + varint(bytes.size) + bytes

        fun varint(value: Int): ByteArray {
            val out = ByteArrayOutputStream()
            var left = value
            while (left > 0x7F) {
                out.write((left and 0x7F) or 0x80)
                left = left ushr 7
            }
            out.write(left)
            return out.toByteArray()
        }
    }
}
