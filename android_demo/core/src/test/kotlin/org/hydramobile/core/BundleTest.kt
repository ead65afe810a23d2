package org.hydramobile.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.nio.file.Files

/** Every way in which a bundle can be wrong has its own kind and says what to do. */
class BundleTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var made: MadeBundle
    private val phone = DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a", "armeabi-v7a"), 30, 1L shl 30)

    @Before
    fun make() {
        made = MadeBundle(temporary.newFolder("bundle"))
    }

    @Test
    fun aWholeBundleOpens() {
        made.manifest["requires"] = mapOf("abis" to listOf("x86_64", "arm64-v8a"), "android_api" to 26)
        made.write()
        val seen = ArrayList<Long>()
        val bundle = Bundle.open(made.folder, phone, setOf("onnx"), { done, total ->
            seen.add(done)
            done <= total
        })
        assertEquals("onnx", bundle.runtime)
        assertArrayEquals(intArrayOf(2), bundle.stopIds)
        assertEquals(made.file("embed_tokens.onnx"), bundle.file("token_embedding"))
        assertArrayEquals(intArrayOf(3), bundle.template.prompt("ab", true).before)
        assertArrayEquals(intArrayOf(1, 2, 0), bundle.template.prompt("ab", true).after)
        assertEquals(3 * 32 * 32, bundle.preprocessor.preprocess(IntArray(6) { -1 }, 3, 2).size)
        assertTrue("several pieces", seen.size > 5)
        assertEquals(bundle.manifest.totalBytes, seen.last())
        assertEquals(bundle.manifest.totalBytes - 7, bundle.manifest.modelBytes)
    }

    @Test
    fun missingFolder() =
        refused(BundleProblem.MISSING_FILE, "is no folder: expected a bundle", folder = File("/nowhere"))

    @Test
    fun missingManifest() {
        made.file("manifest.json").delete()
        refused(BundleProblem.MISSING_FILE, "manifest.json is missing: expected the manifest of a bundle")
    }

    @Test
    fun missingFile() {
        made.file("embed_tokens.onnx").delete()
        refused(BundleProblem.MISSING_FILE, "embed_tokens.onnx is missing; the manifest names it")
    }

    @Test
    fun cutShort() {
        made.file("decoder_model_merged.onnx").writeBytes(ByteArray(1000))
        refused(BundleProblem.WRONG_SIZE, "has 1000 bytes, the manifest says 500000")
    }

    @Test
    fun oneBitChanged() {
        val bytes = made.file("decoder_model_merged.onnx").readBytes()
        bytes[400_000] = (bytes[400_000].toInt() xor 1).toByte()
        made.file("decoder_model_merged.onnx").writeBytes(bytes)
        val hash = MadeBundle.sha256(bytes)
        refused(BundleProblem.WRONG_HASH, "decoder_model_merged.onnx has sha256 $hash, the manifest says")
        Bundle.open(made.folder, phone, verifyHashes = false)
    }

    @Test
    fun schemas() {
        change("schema", 2)
        refused(BundleProblem.NEWER_SCHEMA, "the bundle has format 2, this app reads format 1. Update the app")
        change("schema", 0)
        refused(BundleProblem.OLDER_SCHEMA, "Export it again")
        change("schema", "1")
        refused(BundleProblem.DAMAGED_MANIFEST, "key `schema` is the string \"1\", expected a whole number")
    }

    @Test
    fun anotherRuntime() {
        change("runtime", "executorch")
        refused(BundleProblem.OTHER_RUNTIME, "is for the runtime `executorch`, this app has onnx", setOf("onnx"))
    }

    @Test
    fun separateAdapters() {
        change("adapters", mapOf("one" to emptyMap<String, Any>()))
        refused(BundleProblem.SEPARATE_ADAPTERS, "the app reads merged ones only")
    }

    @Test
    fun anotherProcessor() {
        change("requires", mapOf("abis" to listOf("x86_64")))
        refused(BundleProblem.WRONG_ABI, "for processors of kind x86_64; this device has arm64-v8a, armeabi-v7a")
    }

    @Test
    fun anOlderAndroid() {
        change("requires", mapOf("android_api" to 33))
        refused(BundleProblem.OLD_ANDROID, "needs Android API 33; this device has 30")
    }

    @Test
    fun tooLarge() {
        made.part("shapes")["layers"] = 4000
        made.part("shapes")["kv_heads"] = 300
        made.write()
        refused(BundleProblem.TOO_LARGE, "an app can count on 4096 MiB of this device's 8192 MiB")
    }

    @Test
    fun memoryThatOthersHold() {
        val busy = DeviceLimits(10L shl 20, 8L shl 30, phone.abis, 30)
        refused(BundleProblem.MEMORY_TAKEN, "10 MiB are free at the moment. Close other apps", device = busy)
    }

    @Test
    fun aFullDisk() {
        val full = DeviceLimits(4L shl 30, 8L shl 30, phone.abis, 30, freeDiskBytes = 100)
        refused(BundleProblem.DISK_FULL, "and 1 MiB are free on the disk", device = full)
    }

    @Test
    fun pathsOutside() {
        val outside = temporary.newFile("outside.bin").also { it.writeText("rows") }
        for (name in listOf("../outside.bin", outside.path, "golden/../../outside.bin", "a\u0000b", "", ".")) {
            val made = MadeBundle(temporary.newFolder())
            made.part("files")[name] = made.entry("embed_tokens.onnx").toMap() + ("role" to "golden_more")
            made.write()
            val problem = if (name == outside.path) BundleProblem.MISSING_FILE else BundleProblem.UNSAFE_PATH
            refused(problem, "", folder = made.folder)
        }
        val link = MadeBundle(temporary.newFolder())
        link.file("embed_tokens.onnx").delete()
        Files.createSymbolicLink(link.file("embed_tokens.onnx").toPath(), outside.toPath())
        refused(BundleProblem.UNSAFE_PATH, "which lies outside of the bundle", folder = link.folder)
    }

    @Test
    fun aFolderInPlaceOfAFile() {
        made.file("embed_tokens.onnx").delete()
        made.file("embed_tokens.onnx").mkdir()
        refused(BundleProblem.MISSING_FILE, "embed_tokens.onnx is missing")
    }

    @Test
    fun stopped() {
        try {
            Bundle.open(made.folder, phone, progress = { done, _ -> done < 300_000 })
            fail("was not stopped")
        } catch (error: BundleException) {
            assertEquals(BundleProblem.CANCELLED, error.problem)
        }
    }

    @Test
    fun aTokenizerThatCannotBeUsed() {
        made.tokenizer("{\"model\": {\"type\": \"Unigram\", \"vocab\": []}}")
        val bundle = Bundle.open(made.folder, phone)
        try {
            bundle.tokenizer
            fail("the tokenizer was read")
        } catch (error: BundleException) {
            assertEquals(BundleProblem.UNREADABLE_TOKENIZER, error.problem)
            val what = "the model `Unigram` is not known to this app; it computes BPE"
            assertTrue(error.message, what in error.message!!)
        }
    }

    private fun change(key: String, value: Any?) {
        made.manifest[key] = value
        made.write()
    }

    private fun refused(
        problem: BundleProblem,
        message: String,
        runtimes: Set<String>? = null,
        device: DeviceLimits = phone,
        folder: File = made.folder,
    ) {
        try {
            Bundle.open(folder, device, runtimes)
        } catch (error: BundleException) {
            assertEquals(error.message, problem, error.problem)
            assertTrue("${error.message} lacks: $message", message in error.message!!)
            return
        }
        fail("the bundle was opened; expected $problem: $message")
    }
}
