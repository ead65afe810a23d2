package org.hydramobile.screens

import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.FakeRuntime
import org.hydramobile.core.Json
import org.hydramobile.core.MadeBundle
import org.hydramobile.core.PeakMemory
import org.hydramobile.core.RuntimeFactory
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

/** Speed tests and their history. */
class MeasurementsTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private val worker = ByHand()
    private val made by lazy { MadeBundle(temporary.newFolder("models", "first")) }
    private val host by lazy {
        val factory = RuntimeFactory { bundle, _ -> FakeRuntime(bundle.manifest, FakeRuntime.mixed(1000)) }
        val store = ModelStore(made.folder.parentFile!!, setOf("onnx"))
        ModelHost(store, mapOf("onnx" to factory), worker) {
            DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a"), 30)
        }
    }
    private var heat = 0

    private fun measurements() = Measurements(
        File(temporary.root, "speed.jsonl"), host, AT_ONCE, AT_ONCE, { 5L }, { heat++ }, PeakMemory { 9L },
    ).also { it.read() }

    private fun measure(all: Measurements) {
        assertTrue(all.start(ModelChoice(made.folder, AskedModel("first", "int4", "onnx")), AskSettings()))
        worker.work()
    }

    @Test
    fun keptWithModelAndHeatAndNewestFirst() {
        val all = measurements()
        measure(all)
        measure(all)
        val read = measurements().told.now.made
        assertEquals(all.told.now.made.map { it.id }, read.map { it.id })
        assertEquals(listOf(2, 3), read.first().thermal)
        assertEquals("first", read.first().model.name)
        assertEquals(5, read.first().decodeRate.size)
        assertEquals(9L, read.first().memoryBytes)
    }

    @Test
    fun stoppedWithoutAResult() {
        val all = measurements()
        all.start(ModelChoice(made.folder, AskedModel("first", "int4", "onnx")), AskSettings())
        all.stop()
        assertTrue(all.told.now.running!!.isStopping)
        worker.work()
        assertFalse(all.told.now.isBusy)
        assertEquals(0, all.told.now.made.size)
    }

    @Test
    fun theSharedResultHasWhatBenchReads() {
        val all = measurements()
        measure(all)
        val json = Json.parseObject(Measurement.bench(all.told.now.made, mapOf("model" to "a phone")), "it")
        assertEquals(1, json.int("schema"))
        val row = (json.values["rows"] as List<*>).single() as Map<*, *>
        assertEquals("first", row["name"])
        val process = (row["processes"] as List<*>).single() as Map<*, *>
        for (key in listOf("encode", "prefill", "first_token", "prefill_rate", "decode_rate")) {
            assertEquals(key, 5, (process[key] as List<*>).size)
        }
    }
}
