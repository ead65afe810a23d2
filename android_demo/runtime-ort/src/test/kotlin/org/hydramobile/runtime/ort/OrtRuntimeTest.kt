package org.hydramobile.runtime.ort

import org.hydramobile.core.Bundle
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Assume.assumeTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.math.abs

/** ONNX Runtime on the bundle that the system property `hydra.bundle` names, of preset fp32, 16 rows a call. */
class OrtRuntimeTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var bundle: Bundle

    @Before
    fun find() {
        val name = System.getProperty("hydra.bundle")
        val reason = "skipped: -Dhydra.bundle=FOLDER is not set, or is no bundle for ONNX Runtime"
        if (name == null) println(reason)
        assumeTrue(reason, name != null)
        bundle = Bundle.open(File(name!!), runtimes = setOf(OrtRuntime.NAME))
    }

    @Test
    fun aPromptInPiecesGivesTheSameLogits() = use { runtime ->
        val ids = prompt(40)
        val embeddings = runtime.embed(ids)
        assertTrue("more than one call takes", ids.size > bundle.manifest.maxPrefill)
        val whole = runtime.decode(embeddings, ids.size, 0)
        var piecewise = FloatArray(0)
        for (at in ids.indices) piecewise = runtime.decode(runtime.embed(intArrayOf(ids[at])), 1, at)
        assertEquals(bundle.manifest.vocabSize, whole.size)
        assertClose(whole, piecewise)
    }

    @Test
    fun goingBackForgetsWhatCameAfter() = use { runtime ->
        val prefix = prompt(9)
        val branches = listOf(intArrayOf(5, 6, 7), intArrayOf(50, 3))
        val fresh = branches.map { branch ->
            runtime.decode(runtime.embed(prefix), prefix.size, 0)
            runtime.decode(runtime.embed(branch), branch.size, prefix.size)
        }
        assertTrue("the branches differ", fresh[0].zip(fresh[1]).any { (a, b) -> abs(a - b) > 1e-3 })
        runtime.decode(runtime.embed(prefix), prefix.size, 0)
        repeat(2) {
            for ((branch, expected) in branches.zip(fresh)) {
                val again = runtime.decode(runtime.embed(branch), branch.size, prefix.size)
                assertArrayEquals("to the last bit", expected, again, 0f)
            }
        }
    }

    @Test
    fun aPictureIsEncodedTheSameAgain() = use { runtime ->
        val side = bundle.manifest.image.size
        val pixels = FloatArray(3 * side * side) { (it % 97) / 97f - 0.5f }
        val features = runtime.encodeImage(pixels)
        assertEquals(bundle.manifest.imageTokens * bundle.manifest.hiddenSize, features.size)
        assertTrue("not all alike", features.toSet().size > 100)
        runtime.encodeImage(FloatArray(pixels.size))
        assertArrayEquals(features, runtime.encodeImage(pixels), 0f)
    }

    @Test
    fun theWholeContextAndNoMore() = use { runtime ->
        val most = bundle.manifest.maxContext
        runtime.decode(runtime.embed(prompt(most)), most, 0)
        refused(GenerationProblem.MISUSED, "exceed the $most of the bundle") {
            runtime.decode(runtime.embed(prompt(1)), 1, most)
        }
        runtime.decode(runtime.embed(prompt(1)), 1, most - 1)
    }

    @Test
    fun wrongCallsAreTypedAndHarmless() {
        val runtime = OrtRuntime.load(bundle, 1)
        val one = runtime.embed(intArrayOf(5))
        val before = runtime.decode(one, 1, 0)
        refused(GenerationProblem.MISUSED, "position 2 is beyond the 1 tokens") { runtime.decode(one, 1, 2) }
        refused(GenerationProblem.MISUSED, "position -1") { runtime.decode(one, 1, -1) }
        refused(GenerationProblem.MISUSED, "for 2 rows") { runtime.decode(one, 2, 0) }
        refused(GenerationProblem.MISUSED, "for 0 rows") { runtime.decode(FloatArray(0), 0, 0) }
        refused(GenerationProblem.MISUSED, "token id -1") { runtime.embed(intArrayOf(-1)) }
        refused(GenerationProblem.MISUSED, "token id ${bundle.manifest.vocabSize}") {
            runtime.embed(intArrayOf(bundle.manifest.vocabSize))
        }
        refused(GenerationProblem.MISUSED, "pixels are 7") { runtime.encodeImage(FloatArray(7)) }
        assertArrayEquals(before, runtime.decode(one, 1, 0), 0f)
        runtime.close()
        runtime.close()
        refused(GenerationProblem.MISUSED, "the model was closed") { runtime.decode(one, 1, 0) }
        refused(GenerationProblem.MISUSED, "the model was closed") { runtime.embed(intArrayOf(1)) }
    }

    @Test
    fun twoAtATimeWithOtherThreads() = use { first ->
        val ids = prompt(6)
        val expected = first.decode(first.embed(ids), ids.size, 0)
        OrtRuntime.load(bundle, 2).use { second ->
            assertEquals(2, second.threads)
            assertClose(expected, second.decode(second.embed(ids), ids.size, 0))
        }
        val next = first.embed(intArrayOf(7))
        first.decode(next, 1, ids.size)
    }

    @Test
    fun filesThatAreNoGraph() {
        val folder = copy()
        val file = bundle.manifest.files.single { it.role == "text_decoder" }
        File(folder, file.name).writeBytes(ByteArray(file.bytes.toInt()) { 0x41 })
        refused(GenerationProblem.CANNOT_LOAD, "${file.name} cannot be loaded by onnxruntime") {
            OrtRuntime.load(Bundle.open(folder, verifyHashes = false))
        }
    }

    @Test
    fun graphsThatWereExchanged() {
        val folder = copy()
        val manifest = File(folder, "manifest.json")
        val text = manifest.readText()
            .replace("\"vision_encoder\"", "\"x\"")
            .replace("\"token_embedding\"", "\"vision_encoder\"")
            // As of an earlier version, which wrote no seal.
            .replace(Regex(",\\s*\"manifest_sha256\": \"\\w*\""), "")
        manifest.writeText(text.replace("\"x\"", "\"token_embedding\""))
        refused(GenerationProblem.CANNOT_LOAD, "lacks pixel_values, image_features, which `vision_encoder` must have") {
            OrtRuntime.load(Bundle.open(folder))
        }
    }

    private fun use(action: (OrtRuntime) -> Unit) = OrtRuntime.load(bundle, 1).use(action)

    private fun prompt(count: Int) = IntArray(count) { 3 + (it * 31) % (bundle.manifest.vocabSize - 3) }

    private fun copy(): File = temporary.newFolder().also { bundle.folder.copyRecursively(it, overwrite = true) }

    private fun assertClose(expected: FloatArray, found: FloatArray) {
        assertEquals(expected.size, found.size)
        for (at in expected.indices) assertEquals("logit $at", expected[at], found[at], 1e-3f)
    }

    private fun refused(problem: GenerationProblem, message: String, action: () -> Unit) {
        try {
            action()
        } catch (error: GenerationException) {
            assertEquals(error.message, problem, error.problem)
            assertTrue("${error.message} lacks: $message", message in error.message!!)
            return
        }
        fail("was accepted; expected $problem: $message")
    }
}
