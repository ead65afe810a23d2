/*
 * One ONNX graph of a bundle, loaded and checked: inputs and outputs lie in buffers that the caller owns.
 *
 * Knows ONNX Runtime; knows no prompt and no cache. Called by `OrtRuntime` and its parts.
 */
package org.hydramobile.runtime.ort

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer

/**
 * The graph of [file], which has the [role] of the manifest and at least the inputs of [inputs] and [outputs].
 *
 * @throws GenerationException it cannot be loaded, or is another graph.
 */
internal class OrtGraph(
    private val environment: OrtEnvironment,
    private val file: File,
    private val role: String,
    threads: Int,
    inputs: Set<String>,
    outputs: Set<String>,
) : AutoCloseable {
    private val session: OrtSession = try {
        OrtProcess.options(threads).use { environment.createSession(file.path, it) }
    } catch (error: OrtException) {
        throw unusable("cannot be loaded by onnxruntime ${environment.version}: ${OrtProcess.firstLine(error)}", error)
    }

    /** Names of the inputs in the graph's order. */
    val inputNames: Set<String> get() = session.inputNames

    init {
        val missing = (inputs - session.inputNames) + (outputs - session.outputNames)
        if (missing.isNotEmpty()) {
            close()
            throw unusable("lacks ${missing.joinToString()}, which `$role` must have.", null)
        }
    }

    /**
     * The shape of an input or output of float32; -1 where the graph leaves a size open.
     *
     * @throws GenerationException it has another type.
     */
    fun shape(name: String): LongArray {
        val node = session.inputInfo[name] ?: session.outputInfo[name]
        val tensor = node?.info as? TensorInfo
        if (tensor == null || tensor.type != OnnxJavaType.FLOAT) throw unusable("has `$name` in another type.", null)
        return tensor.shape
    }

    /**
     * Compute with [inputs], and write every output of the graph into [outputs].
     *
     * @throws GenerationException the library reports an error.
     */
    fun run(inputs: Map<String, OnnxTensor>, outputs: Map<String, OnnxTensor>) {
        try {
            session.run(inputs, emptySet(), outputs).close()
        } catch (error: OrtException) {
            throw GenerationException(
                GenerationProblem.RUNTIME_FAILED,
                "ONNX Runtime failed in `$role`: ${OrtProcess.firstLine(error)} Ask again, or load the model again.",
                error,
            )
        }
    }

    /** A tensor that shares the memory of [buffer]. */
    fun floats(buffer: FloatBuffer, vararg shape: Long): OnnxTensor =
        OnnxTensor.createTensor(environment, buffer, shape)

    /** As for floats. */
    fun longs(buffer: LongBuffer, vararg shape: Long): OnnxTensor = OnnxTensor.createTensor(environment, buffer, shape)

    override fun close() = session.close()

    private fun unusable(what: String, cause: Throwable?) = GenerationException(
        GenerationProblem.CANNOT_LOAD,
        "${file.path} $what The file was altered, or made for another version; export the bundle again.",
        cause,
    )

    companion object {
        /** Memory that the library reads and writes in place. */
        fun floatBuffer(size: Int): FloatBuffer = bytes(4L * size).asFloatBuffer()

        /** As [floatBuffer], for whole numbers. */
        fun longBuffer(size: Int): LongBuffer = bytes(8L * size).asLongBuffer()

        private fun bytes(size: Long): ByteBuffer =
            ByteBuffer.allocateDirect(Math.toIntExact(size)).order(ByteOrder.nativeOrder())
    }
}

/** The part of a buffer from [start] to before [end], which shares its memory. */
internal fun FloatBuffer.part(start: Int, end: Int): FloatBuffer {
    val whole = duplicate()
    whole.limit(end).position(start)
    return whole.slice()
}

/** As for floats. */
internal fun LongBuffer.part(start: Int, end: Int): LongBuffer {
    val whole = duplicate()
    whole.limit(end).position(start)
    return whole.slice()
}
