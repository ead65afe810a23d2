/*
 * Speed tests: the one that runs, and those that were made, each with its model.
 */
package org.hydramobile.screens

import org.hydramobile.core.Json
import org.hydramobile.core.JsonObject
import org.hydramobile.core.PeakMemory
import org.hydramobile.core.Speed
import org.hydramobile.core.SpeedTest
import org.hydramobile.core.StopSignal
import org.hydramobile.core.Summary
import java.io.File
import java.io.IOException
import java.util.UUID
import java.util.concurrent.Executor

/**
 * A speed test that was made.
 *
 * Lists have a number for each repeat: seconds, and tokens a second. [thermal]: the phone's thermal state before and
 * after, from 0 (none) to 6 (shutdown), as Android's `PowerManager` counts; null where it does not say.
 */
class Measurement(
    val id: String,
    val model: AskedModel,
    val measuredAt: Long,
    val digest: String,
    val sizeBytes: Long,
    val threads: Int,
    val loadSeconds: Double,
    val memoryBytes: Long?,
    val promptTokens: Int,
    val encode: List<Double>,
    val prefillRate: List<Double>,
    val firstToken: List<Double>,
    val decodeRate: List<Double>,
    val thermal: List<Int?>,
) {
    /** Medians; null: not measured. */
    val rate: Double? get() = Summary.of(decodeRate)?.median
    val firstSeconds: Double? get() = Summary.of(firstToken)?.median

    fun json(): Map<String, Any?> = linkedMapOf(
        "id" to id,
        "model" to model.name,
        "preset" to model.preset,
        "runtime" to model.runtime,
        "measured" to measuredAt,
        "digest" to digest,
        "size_bytes" to sizeBytes,
        "threads" to threads,
        "load_seconds" to loadSeconds,
        "peak_memory_bytes" to memoryBytes,
        "prompt_tokens" to promptTokens,
        "encode" to encode,
        "prefill_rate" to prefillRate,
        "first_token" to firstToken,
        "decode_rate" to decodeRate,
        "thermal" to thermal,
    )

    companion object {
        /** A measurement of a line. JsonException: it is none. */
        fun of(json: JsonObject) = Measurement(
            json.string("id"),
            AskedModel(json.string("model"), json.string("preset"), json.string("runtime")),
            json.long("measured"),
            json.string("digest"),
            json.long("size_bytes"),
            json.int("threads"),
            json.number("load_seconds") ?: 0.0,
            json.number("peak_memory_bytes")?.toLong(),
            json.int("prompt_tokens"),
            json.numbers("encode"),
            json.numbers("prefill_rate"),
            json.numbers("first_token"),
            json.numbers("decode_rate"),
            (json.values["thermal"] as? List<*>).orEmpty().map { (it as? Number)?.toInt() },
        )

        private fun JsonObject.numbers(key: String) =
            (values[key] as? List<*>).orEmpty().mapNotNull { (it as? Number)?.toDouble() }

        /**
         * [measurements] as `hydra-mobile bench --against` reads them: a row for each model, a process for each test.
         *
         * [device] are facts about the phone. Format: `hydra_mobile/measurement/run.py`.
         */
        fun bench(measurements: List<Measurement>, device: Map<String, Any?>): String {
            val rows = measurements.groupBy {
                Triple(it.model.name, it.model.preset, it.model.runtime)
            }.map { (key, all) ->
                linkedMapOf(
                    "name" to key.first,
                    "runner" to key.third,
                    "preset" to key.second,
                    "digest" to all.last().digest,
                    "size_bytes" to all.last().sizeBytes,
                    "files" to emptyMap<String, Any?>(),
                    "device" to all.map { device + ("thermal" to it.thermal) },
                    "processes" to all.map { it.process() },
                )
            }
            val plan = linkedMapOf(
                "prompt_tokens" to (measurements.lastOrNull()?.promptTokens ?: 0),
                "new_tokens" to SpeedTest.NEW_TOKENS,
                "repeats" to SpeedTest.REPEATS,
                "warmup" to 1,
                "rounds" to (rows.maxOfOrNull { (it["processes"] as List<*>).size } ?: 0),
                "threads" to (measurements.lastOrNull()?.threads ?: 0),
            )
            return Json.write(
                linkedMapOf(
                    "schema" to 1,
                    "environment" to emptyMap<String, Any?>(),
                    "device" to "app",
                    "plan" to plan,
                    "interrupted" to false,
                    "rows" to rows,
                ),
            )
        }
    }

    private fun process(): Map<String, Any?> = linkedMapOf(
        "load_seconds" to loadSeconds,
        // Whether the file was in the system's cache is not known.
        "cold" to false,
        "threads" to threads,
        "peak_memory_bytes" to memoryBytes,
        "prompt_tokens" to promptTokens,
        "encode" to encode,
        "prefill" to prefillRate.map { promptTokens / it },
        "first_token" to firstToken,
        "prefill_rate" to prefillRate,
        "decode_rate" to decodeRate,
    )
}

/** A speed test that runs: of which model, in which phase, the share that is done. */
class Measuring(val model: AskedModel, val phase: Phase, val share: Double = 0.0, val isStopping: Boolean = false)

/** [made]: newest first. [running]: null where none runs. [problem]: of the last one. */
class SpeedState(
    val made: List<Measurement> = emptyList(),
    val running: Measuring? = null,
    val problem: Problem? = null,
    val isRead: Boolean = false,
) {
    val isBusy: Boolean get() = running != null
}

/** As `Chat`, for speed tests in [file]. [thermal]: the thermal state now. */
class Measurements(
    file: File,
    private val host: ModelHost,
    private val files: Executor,
    private val screens: Executor,
    private val clock: () -> Long,
    private val thermal: () -> Int? = { null },
    private val memory: PeakMemory = PeakMemory.RESIDENT,
) {
    private val kept = LineFile(file, MOST)
    private var signal = StopSignal()
    val told = Told(SpeedState(), screens)

    fun read() = files.execute {
        val found = kept.read({ it.id }) { json, _ -> Measurement.of(json) }.reversed()
        screens.execute { told.now.run { told.set(SpeedState(made + found, running, problem, true)) } }
    }

    /** Time [model]; false: one is being timed. */
    fun start(model: ModelChoice, settings: AskSettings): Boolean {
        if (told.now.isBusy) return false
        val stop = StopSignal().also { signal = it }
        told.now.run { told.set(SpeedState(made, Measuring(model.asked, Phase.WAITING), isRead = isRead)) }
        host.run(stop, model.folder) {
            try {
                val measured = measure(model, settings, stop)
                screens.execute { end(measured, null) }
            } catch (error: Throwable) {
                host.failed(error)
                screens.execute { end(null, Problem.of(error)) }
            }
        }
        return true
    }

    /** End the test between two of its steps; it is said at once. */
    fun stop() {
        signal.stop()
        told.now.run {
            running?.let { told.set(SpeedState(made, Measuring(it.model, it.phase, it.share, true), null, isRead)) }
        }
    }

    private fun measure(model: ModelChoice, settings: AskSettings, stop: StopSignal): Measurement? {
        val loaded = host.ready(model.folder, settings.threads, stop) { phase, share ->
            show(model, phase, share, stop)
        }
        val before = thermal()
        show(model, Phase.ANSWERING, 0.0, stop)
        val speed = SpeedTest(loaded.bundle, loaded.runtime).measure(signal = stop) { done ->
            show(model, Phase.ANSWERING, done.toDouble() / SpeedTest.REPEATS, stop)
        }
        return if (speed.firstTokenSeconds.isEmpty()) null else made(model, loaded, speed, listOf(before, thermal()))
    }

    private fun made(model: ModelChoice, loaded: Loaded, speed: Speed, thermal: List<Int?>) = Measurement(
        UUID.randomUUID().toString(),
        model.asked,
        clock(),
        loaded.bundle.manifest.files.first { it.role in PROGRAMS }.sha256,
        loaded.bundle.manifest.modelBytes,
        loaded.runtime.threads,
        loaded.runtime.loadSeconds,
        memory.bytes(),
        speed.prefillTokens,
        speed.encodeSeconds,
        speed.prefillRate,
        speed.firstTokenSeconds,
        speed.decodeRate,
        thermal,
    )

    private fun show(model: ModelChoice, phase: Phase, share: Double, stop: StopSignal) = screens.execute {
        val now = told.now
        val running = Measuring(model.asked, phase, share, stop.isSet)
        if (now.isBusy) told.set(SpeedState(now.made, running, null, now.isRead))
    }

    private fun end(measured: Measurement?, problem: Problem?) {
        told.now.run { told.set(SpeedState(listOfNotNull(measured) + made, null, problem, isRead)) }
        if (measured != null) {
            files.execute {
                try {
                    kept.add(Json.write(measured.json()))
                } catch (error: IOException) {
                    val lost = Problem(Problem.NOT_KEPT, error.message.orEmpty())
                    screens.execute { told.now.run { told.set(SpeedState(made, running, lost, isRead)) } }
                }
            }
        }
    }

    private companion object {
        const val MOST = 200
        val PROGRAMS = setOf("program", "text_decoder")
    }
}
