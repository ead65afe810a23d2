package org.hydramobile.screens

import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.CheckProgress
import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.MadeBundle
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.ByteArrayInputStream
import java.io.File
import java.io.IOException
import java.io.InputStream

/** Models come, are listed with what is known of them, and go; nothing half-copied is ever listed. */
class ModelStoreTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var made: MadeBundle
    private lateinit var root: File
    private lateinit var store: ModelStore
    private var phone = DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a"), 30, 1L shl 30)

    /** The folder of [made], as a picker of files gives it. */
    private inner class Picked(override val title: String = "int4") : BundleSource {
        var change: (String, InputStream?) -> InputStream? = { _, stream -> stream }

        override fun open(path: String): InputStream? =
            change(path, File(made.folder, path).let { if (it.isFile) it.inputStream() else null })
    }

    @Before
    fun make() {
        made = MadeBundle(temporary.newFolder("bundle"))
        root = temporary.newFolder("models")
        store = ModelStore(root, setOf("onnx"))
    }

    private fun import(source: BundleSource = Picked(), progress: CheckProgress = CheckProgress { _, _ -> true }) =
        ModelImport(store, setOf("onnx")) { phone }.run(source, progress)

    @Test
    fun imported() {
        val seen = ArrayList<Double>()
        val folder = import(Picked("../my/int4"), CheckProgress { done, total -> seen.add(done.toDouble() / total) })
        assertEquals(root, folder.parentFile)
        assertEquals(seen.sorted(), seen)
        assertEquals(1.0, seen.last(), 0.0)
        val model = store.models(phone).single()
        assertEquals(folder, model.folder)
        assertNull(model.problem)
        assertTrue("an import is a check", model.isChecked)
        // The same name again is another model.
        assertEquals("${folder.name} 2", import(Picked("../my/int4")).name)
    }

    private fun unpack(source: BundleSource = Picked(), progress: CheckProgress = CheckProgress { _, _ -> true }) =
        ModelImport(store, setOf("onnx")) { phone }.unpack(source, progress)

    @Test
    fun unpackedOnceAndNotAgainWhenItWasDeleted() {
        val folder = unpack()!!
        assertEquals("int4", folder.name)
        assertNull(store.models(phone).single().problem)
        assertNull(unpack())
        store.delete(folder)
        assertNull(unpack())
        assertEquals(0, store.models(phone).size)
        // Another model came with an update of the app.
        made.manifest["created"] = "2026-02-01T00:00:00+00:00"
        made.write()
        assertEquals("int4", unpack()!!.name)
    }

    @Test
    fun unpackingGoesOnWhereItEnded() {
        val largest = made.folder.walk().filter { it.isFile }.maxOf { it.length() }
        var most = 0L
        ends(BundleProblem.CANCELLED) {
            unpack(progress = CheckProgress { done, _ -> done.also { most = it } < largest / 2 })
        }
        store.tidy()
        assertEquals("nothing half-copied is listed", 0, store.models(phone).size)
        val read = HashMap<String, Long>()
        val source = Picked()
        source.change =
            { path, stream -> stream?.let { Counted(it) { count -> read[path] = (read[path] ?: 0) + count } } }
        val seen = ArrayList<Long>()
        val folder = unpack(source, CheckProgress { done, _ -> seen.add(done) })!!
        assertEquals(seen.sorted(), seen)
        val files = made.folder.walk().filter { it.isFile && it.name != "manifest.json" }
        assertTrue("what was there is not read again", read.values.sum() < files.sumOf { it.length() })
        assertTrue(store.models(phone).single().isChecked)
        for (file in files) {
            assertTrue(file.readBytes().contentEquals(File(folder, file.relativeTo(made.folder).path).readBytes()))
        }
    }

    @Test
    fun whatIsAlteredIsCopiedAnew() {
        ends(BundleProblem.CANCELLED) { unpack(progress = CheckProgress { _, _ -> false }) }
        val partial = root.listFiles { file -> file.name.startsWith(".partial-") }!!.single()
        partial.walk().first { it.isFile }.let { it.writeBytes(ByteArray(it.length().toInt()) { 1 }) }
        ends(BundleProblem.WRONG_HASH) { unpack() }
        assertEquals("int4", unpack()!!.name)
    }

    private fun ends(problem: BundleProblem, action: () -> Unit) {
        try {
            action()
        } catch (error: BundleException) {
            assertEquals(error.message, problem, error.problem)
            return
        }
        fail("expected $problem")
    }

    /** A stream that tells how much was read of it; what was skipped does not count. */
    private class Counted(private val stream: InputStream, private val read: (Int) -> Unit) : InputStream() {
        override fun read(): Int = stream.read().also { if (it >= 0) read(1) }

        override fun read(bytes: ByteArray, start: Int, most: Int): Int =
            stream.read(bytes, start, most).also { if (it > 0) read(it) }

        override fun skip(count: Long): Long = stream.skip(count)
    }

    @Test
    fun pushedByHandIsUncheckedUntilItIsOpened() {
        made.folder.copyRecursively(File(root, "pushed"))
        assertFalse(store.models(phone).single().isChecked)
        var hashed = 0
        store.open(File(root, "pushed"), phone, CheckProgress { _, _ -> ++hashed > 0 })
        assertTrue(hashed > 0)
        assertTrue(store.models(phone).single().isChecked)
        hashed = 0
        store.open(File(root, "pushed"), phone, CheckProgress { _, _ -> ++hashed > 0 })
        assertEquals(0, hashed)
        File(root, "pushed/embed_tokens.onnx").setLastModified(1_000_000_000L)
        assertFalse(store.models(phone).single().isChecked)
    }

    @Test
    fun whatIsWrongIsInTheList() {
        File(root, "empty").mkdir()
        File(root, "text").mkdir()
        File(root, "text/manifest.json").writeText("no json")
        made.folder.copyRecursively(File(root, "whole"))
        File(root, "file").writeText("no folder")
        val small = DeviceLimits(1L shl 20, 64L shl 20, listOf("arm64-v8a"), 30)
        val problems = store.models(small).associate { it.name to it.problem }
        assertEquals(setOf("empty", "text", "whole"), problems.keys)
        assertEquals("MISSING_FILE", problems["empty"]!!.code)
        assertEquals(listOf("manifest.json"), problems["empty"]!!.arguments)
        assertEquals("DAMAGED_MANIFEST", problems["text"]!!.code)
        assertEquals("TOO_LARGE", problems["whole"]!!.code)
        // Memory that other apps hold now is no property of the model.
        val busy = DeviceLimits(1L shl 20, 8L shl 30, listOf("arm64-v8a"), 30)
        assertNull(store.models(busy).last().problem)
    }

    @Test
    fun refusedBeforeAByteIsCopied() {
        val copied = ArrayList<String>()
        val source = Picked().also { picked ->
            picked.change = { path, stream -> stream.also { if (path != "manifest.json") copied.add(path) } }
        }
        phone = DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a"), 30, freeDiskBytes = 1000)
        refused(BundleProblem.DISK_FULL, "are free on the disk", source)
        phone = DeviceLimits(1L shl 20, 64L shl 20, listOf("arm64-v8a"), 30, 1L shl 30)
        refused(BundleProblem.TOO_LARGE, "an app can count on", source)
        made.manifest["runtime"] = "executorch"
        made.write()
        refused(BundleProblem.OTHER_RUNTIME, "executorch", source)
        made.manifest["schema"] = 2
        made.write()
        refused(BundleProblem.NEWER_SCHEMA, "int4/manifest.json: the bundle has format 2", source)
        assertEquals(emptyList<String>(), copied)
    }

    @Test
    fun notWrittenOnTheWay() {
        val source = Picked()
        val room = phone
        for ((free, problem) in listOf(0L to BundleProblem.DISK_FULL, null to BundleProblem.UNWRITABLE_FILE)) {
            phone = room
            source.change = { path, stream ->
                if (path == "tokenizer.json") {
                    // Nothing can be written into what was a folder.
                    val folder = root.listFiles()!!.single { it.isDirectory }
                    folder.deleteRecursively()
                    folder.writeText("")
                    phone = DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a"), 30, free)
                }
                stream
            }
            refused(problem, if (free == null) "tokenizer.json cannot be written" else "The disk is full", source)
            assertEquals(emptyList<String>(), root.list()!!.toList())
        }
    }

    @Test
    fun damagedOnTheWay() {
        val source = Picked()
        source.change = { path, stream -> if (path == "tokenizer.json") null else stream }
        refused(BundleProblem.MISSING_FILE, "tokenizer.json is missing in int4", source)
        source.change = { path, stream ->
            if (path == "embed_tokens.onnx") ByteArrayInputStream(ByteArray(4)) else stream
        }
        refused(BundleProblem.WRONG_HASH, "embed_tokens.onnx has sha256", source)
        source.change = { path, stream ->
            if (path == "embed_tokens.onnx") ByteArrayInputStream(ByteArray(5)) else stream
        }
        refused(BundleProblem.WRONG_SIZE, "embed_tokens.onnx in int4 has more bytes than the 4", source)
        source.change = { path, stream -> if (path == "tokenizer.json") throw IOException("unplugged") else stream }
        refused(BundleProblem.UNREADABLE_FILE, "tokenizer.json: unplugged", source)
        source.change = { path, stream -> if (path == "manifest.json") null else stream }
        refused(BundleProblem.MISSING_FILE, "int4 has no manifest.json", source)
        source.change = { path, stream ->
            if (path == "manifest.json") ByteArrayInputStream(ByteArray((8 shl 20) + 1)) else stream
        }
        refused(BundleProblem.DAMAGED_MANIFEST, "more than 8388608 bytes", source)
    }

    @Test
    fun aNameThatLeadsOutWritesNothingThere() {
        val entry = made.part("files").remove("embed_tokens.onnx")
        made.part("files")["../stolen"] = entry
        made.write()
        val source = Picked()
        source.change = { path, stream -> if (path == "../stolen") ByteArrayInputStream(ByteArray(4)) else stream }
        refused(BundleProblem.UNSAFE_PATH, "`../stolen`, which lies outside", source)
        assertFalse(File(root, "stolen").exists())
    }

    @Test
    fun stopped() {
        refused(BundleProblem.CANCELLED, "stopped", progress = CheckProgress { done, total -> done < total / 4 })
        refused(BundleProblem.CANCELLED, "stopped", progress = CheckProgress { done, total -> done < 3 * total / 4 })
    }

    @Test
    fun whatAKilledImportLeftIsTidiedAway() {
        val left = store.temporary()
        File(left, "manifest.json").writeText("{")
        assertEquals(0, store.models(phone).size)
        store.tidy()
        assertFalse(left.exists())
    }

    @Test
    fun deleted() {
        val folder = import()
        store.delete(folder)
        assertEquals(0, store.models(phone).size)
        assertEquals(emptyList<String>(), root.walkTopDown().filter { it.isFile }.map { it.name }.toList())
    }

    private fun refused(
        problem: BundleProblem,
        text: String,
        source: BundleSource = Picked(),
        progress: CheckProgress = CheckProgress { _, _ -> true },
    ) {
        try {
            import(source, progress)
            fail("expected $problem")
        } catch (error: BundleException) {
            assertEquals(error.message, problem, error.problem)
            assertTrue(error.message, error.message!!.contains(text))
        }
        assertEquals("nothing stays", emptyList<File>(), root.walkTopDown().filter { it.isFile }.toList())
    }
}
