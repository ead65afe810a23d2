package org.hydramobile.runtime.et

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
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.FloatBuffer
import java.nio.LongBuffer
import kotlin.math.abs

/** ExecuTorch on the bundle that the system property `hydra.bundle` names, of preset fp32, 16 rows a call. */
class EtRuntimeTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var bundle: Bundle

    @Before
    fun find() {
        val name = System.getProperty("hydra.bundle")
        val reason = "skipped: -Dhydra.bundle=FOLDER is not set"
        if (name == null) println(reason)
        assumeTrue(reason, name != null)
        bundle = Bundle.open(File(name!!), runtimes = setOf(EtRuntime.NAME))
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
        for ((branch, expected) in branches.zip(fresh)) {
            val again = runtime.decode(runtime.embed(branch), branch.size, prefix.size)
            assertArrayEquals("to the last bit", expected, again, 0f)
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
    }

    @Test
    fun wrongCallsAreTypedAndHarmless() {
        val runtime = EtRuntime.load(bundle, 1)
        val one = runtime.embed(intArrayOf(5))
        val before = runtime.decode(one, 1, 0)
        refused(GenerationProblem.MISUSED, "position 2 is beyond the 1 tokens") { runtime.decode(one, 1, 2) }
        refused(GenerationProblem.MISUSED, "for 2 rows") { runtime.decode(one, 2, 0) }
        refused(GenerationProblem.MISUSED, "token id -1") { runtime.embed(intArrayOf(-1)) }
        refused(GenerationProblem.MISUSED, "pixels are 7") { runtime.encodeImage(FloatArray(7)) }
        assertArrayEquals(before, runtime.decode(one, 1, 0), 0f)
        runtime.close()
        runtime.close()
        refused(GenerationProblem.MISUSED, "the model was closed") { runtime.decode(one, 1, 0) }
    }

    @Test
    fun threadsAreKnown() {
        EtRuntime.load(bundle, 2).use { assertEquals(2, it.threads) }
        EtRuntime.load(bundle, 0).use { assertTrue("${it.threads}", it.threads >= 1) }
        EtRuntime.load(bundle, 1).use { assertEquals(1, it.threads) }
    }

    @Test
    fun filesThatAreNoProgram() {
        val file = bundle.manifest.files.single { it.role == "program" }
        val folder = temporary.newFolder().also { bundle.folder.copyRecursively(it, overwrite = true) }
        File(folder, file.name).writeBytes(ByteArray(file.bytes.toInt()) { 0x41 })
        refused(GenerationProblem.CANNOT_LOAD, "ExecuTorch says Error::InvalidProgram") {
            EtRuntime.load(Bundle.open(folder, verifyHashes = false))
        }
    }

    @Test
    fun loadedAndClosedManyTimes() = repeat(10) { EtRuntime.load(bundle, 1).close() }

    @Test
    fun whatTheBridgeRefusesItself() {
        Native.open()
        val handle = Native.load(bundle.file("program").path, 1)
        val ids: Array<Buffer> = arrayOf(Native.longs(4))
        val shape = arrayOf(longArrayOf(1, 4))
        val out = Native.floats(4 * bundle.manifest.hiddenSize)
        assertEquals(out.capacity(), Native.run(handle, EMBED, ids, shape, out))
        wrong("the program is closed") { Native.run(0, EMBED, ids, shape, out) }
        wrong("2 buffers and 1 shapes, expected 1") { Native.run(handle, EMBED, arrayOf(ids[0], ids[0]), shape, out) }
        wrong("holds float32") { Native.run(handle, EMBED, arrayOf(Native.floats(4)), shape, out) }
        wrong("neither a FloatBuffer nor") {
            Native.run(handle, EMBED, arrayOf(ByteBuffer.allocateDirect(64)), shape, out)
        }
        wrong("no direct buffer") { Native.run(handle, EMBED, arrayOf(LongBuffer.allocate(4)), shape, out) }
        wrong("room for 4 values, its shape [1, 5] needs 5") {
            Native.run(handle, EMBED, ids, arrayOf(longArrayOf(1, 5)), out)
        }
        wrong("3 dimensions, expected 2") { Native.run(handle, EMBED, ids, arrayOf(longArrayOf(1, 2, 2)), out) }
        for (size in longArrayOf(0, -1, 17, 1L shl 40)) {
            wrong("size $size in dimension 1") { Native.run(handle, EMBED, ids, arrayOf(longArrayOf(1, size)), out) }
        }
        wrong("the output is no direct buffer with room") {
            Native.run(handle, EMBED, ids, shape, Native.floats(out.capacity() - 1))
        }
        wrong("the output is no direct buffer with room") {
            Native.run(handle, EMBED, ids, shape, FloatBuffer.allocate(out.capacity()))
        }
        state("ExecuTorch says Error::") { Native.run(handle, "no_method", ids, shape, out) }
        state("ExecuTorch says Error::AccessFailed") { Native.load("/nowhere/model.pte", 1) }
        assertEquals(out.capacity(), Native.run(handle, EMBED, ids, shape, out))
        Native.close(handle)
        Native.close(0)
    }

    private fun wrong(message: String, action: () -> Unit) =
        raised(IllegalArgumentException::class.java, message, action)

    private fun state(message: String, action: () -> Unit) = raised(IllegalStateException::class.java, message, action)

    private fun raised(kind: Class<out RuntimeException>, message: String, action: () -> Unit) {
        try {
            action()
        } catch (error: RuntimeException) {
            assertEquals(error.message, kind, error.javaClass)
            assertTrue("${error.message} lacks: $message", message in error.message!!)
            return
        }
        fail("was accepted; expected: $message")
    }

    private fun use(action: (EtRuntime) -> Unit) = EtRuntime.load(bundle, 1).use(action)

    private fun prompt(count: Int) = IntArray(count) { 3 + (it * 31) % (bundle.manifest.vocabSize - 3) }

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

    private companion object {
        const val EMBED = "token_embedding"
    }
}
