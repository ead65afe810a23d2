/*
 * Keys and values of all layers, in one buffer each that the decoder reads and writes in place.
 *
 * Past and present bound to the same memory save copying the cache at every token. Going back to an earlier
 * length needs no work: what is behind it is overwritten. Called by `OrtRuntime`.
 */
package org.hydramobile.runtime.ort

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem

/** The cache of [decoder] for [capacity] positions, zeroed. */
internal class KeyValueCache(environment: OrtEnvironment, decoder: OrtGraph, capacity: Int) : AutoCloseable {
    private val owners = ArrayList<OrtSession.Result>()
    private val past = LinkedHashMap<String, OnnxTensor>()
    private val present = LinkedHashMap<String, OnnxTensor>()

    init {
        try {
            NativeZeros(environment).use { zeros ->
                for (name in decoder.inputNames.filter { it.startsWith(PAST) }) {
                    val shape = decoder.shape(name)
                    val held = zeros.make(longArrayOf(1, shape[1], capacity.toLong(), shape[3]))
                    owners.add(held)
                    val tensor = held.get(0) as OnnxTensor
                    past[name] = tensor
                    present[name.replace(PAST, PRESENT)] = tensor
                }
            }
        } catch (error: Exception) {
            close()
            throw error
        }
        if (past.isEmpty()) {
            throw GenerationException(
                GenerationProblem.CANNOT_LOAD,
                "The decoder has no input `$PAST*`, so it keeps no cache. Export the bundle again.",
            )
        }
    }

    /** Inputs of the decoder by name. */
    val inputs: Map<String, OnnxTensor> get() = past

    /** Outputs of the decoder by name: the same tensors. */
    val outputs: Map<String, OnnxTensor> get() = present

    override fun close() {
        owners.forEach { it.close() }
        owners.clear()
    }

    private companion object {
        const val PAST = "past_key_values."
        const val PRESENT = "present."
    }
}
