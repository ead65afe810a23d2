/*
 * The one environment of ONNX Runtime that a process has: telemetry off before anything else, one pool of threads.
 *
 * Each session would have a pool of its own, whose idle threads spin for a while and take the cores away from
 * the next session's. Knows no bundle. Called by `OrtRuntime`.
 */
package org.hydramobile.runtime.ort

import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem

internal object OrtProcess {
    private const val NAME = "hydra-mobile"
    private var made: OrtEnvironment? = null
    private var poolThreads = 0

    /**
     * The environment; the first call sets the size of the shared pool, for as long as the process lives.
     *
     * @throws GenerationException the library is missing or is of another device.
     */
    @Synchronized
    fun environment(threads: Int): OrtEnvironment = made ?: try {
        make(threads).also {
            it.setTelemetry(false)
            made = it
            poolThreads = threads
        }
    } catch (error: LinkageError) {
        // A missing library is an Error to Java; here it is a program that was put together wrongly.
        throw cannotLoad("ONNX Runtime's library is missing in this app, or is for other processors", error)
    } catch (error: OrtException) {
        throw cannotLoad("ONNX Runtime does not start", error)
    }

    /** Options for a session: the shared pool where it has [threads] threads, else a pool of its own. */
    @Synchronized
    fun options(threads: Int): OrtSession.SessionOptions = OrtSession.SessionOptions().apply {
        // Errors come as exceptions; the log would tell them a second time.
        setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL)
        if (threads == poolThreads) disablePerSessionThreads() else setIntraOpNumThreads(threads)
    }

    private fun make(threads: Int): OrtEnvironment {
        val level = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL
        return OrtEnvironment.ThreadingOptions().use {
            it.setGlobalIntraOpNumThreads(threads)
            it.setGlobalInterOpNumThreads(1)
            OrtEnvironment.getEnvironment(level, NAME, it)
        }
    }

    private fun cannotLoad(what: String, cause: Throwable) = GenerationException(
        GenerationProblem.CANNOT_LOAD,
        "$what: ${firstLine(cause)} Install the app again.",
        cause,
    )

    /** What an error says in one line that ends as a sentence. */
    fun firstLine(error: Throwable): String {
        val line = (error.message ?: error.toString()).trim().lineSequence().first()
        return if (line.endsWith(".")) line else "$line."
    }
}
