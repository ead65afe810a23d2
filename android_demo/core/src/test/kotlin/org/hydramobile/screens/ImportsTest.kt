package org.hydramobile.screens

import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.MadeBundle
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.InputStream
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** Imports: how far, how they end, and what they leave. */
class ImportsTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var made: MadeBundle
    private lateinit var imports: Imports
    private lateinit var store: ModelStore
    private val root by lazy { temporary.newFolder("models") }
    private val worker = ByHand()
    private val states = ArrayList<ImportState>()
    private val added = ArrayList<File>()
    private var onOpen: (String) -> Unit = {}
    private val source = object : BundleSource {
        override val title = "int4"

        override fun open(path: String): InputStream? {
            onOpen(path)
            return File(made.folder, path).inputStream()
        }
    }

    @Before
    fun make() {
        made = MadeBundle(temporary.newFolder("bundle"))
        store = ModelStore(root, setOf("onnx"))
        imports = imports()
        imports.told.listen { states.add(it) }
    }

    private fun imports(): Imports {
        val models = ModelImport(store, setOf("onnx")) {
            DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a"), 30, 1L shl 30)
        }
        return Imports(models, store, worker, AT_ONCE, AT_ONCE) { added.add(it) }
    }

    private fun run(source: () -> BundleSource = { this.source }): ImportState {
        assertTrue(imports.start("int4", source))
        assertFalse("one at a time", imports.start("int4", source))
        worker.work()
        return imports.told.now
    }

    private fun left() = root.walkTopDown().filter { it.isFile }.map { it.name }.toList()

    @Test
    fun toldHowFarItIsInPercents() {
        assertEquals("int4", run().imported)
        val shares = states.filter { it.isBusy }.map { it.share }
        assertEquals(shares.distinct().sorted(), shares.drop(if (shares[0] == shares[1]) 1 else 0))
        assertTrue("${shares.size}", shares.size in 4..110)
        assertEquals(listOf("int4"), added.map { it.name })
    }

    @Test
    fun stoppedAtOnceThoughTheOtherAppIsStillWaitedFor() {
        onOpen = {
            imports.stop()
            assertFalse(imports.told.now.isBusy)
        }
        val state = run()
        assertNull(state.imported)
        assertNull(state.problem)
        assertEquals(emptyList<String>(), left())
        onOpen = {}
        assertEquals("int4", run().imported)
    }

    @Test
    fun whateverTheOtherAppThrowsIsAProblem() {
        for (error in listOf(SecurityException("not granted"), NullPointerException(), StackOverflowError())) {
            onOpen = { throw error }
            assertEquals("$error", "SOURCE", run().problem!!.code)
            assertEquals(emptyList<String>(), left())
        }
        assertEquals("SOURCE", run { throw IllegalArgumentException("no tree") }.problem!!.code)
    }

    @Test
    fun anImportThatTheEndOfTheProcessCutOffIsTold() {
        imports.start("int4") { source }
        // The process ends here, and another begins.
        imports = imports()
        imports.recover()
        assertEquals("IMPORT_LOST", imports.told.now.problem!!.code)
        assertEquals(listOf("int4"), imports.told.now.problem!!.arguments)
        imports = imports()
        imports.recover()
        assertNull("it is told once", imports.told.now.problem)
    }

    private fun zip(folder: String, names: List<String>): File {
        val file = File(temporary.root, "made.zip")
        ZipOutputStream(file.outputStream()).use { zip ->
            for (name in names) {
                zip.putNextEntry(ZipEntry(folder + name))
                File(made.folder, name).inputStream().use { it.copyTo(zip) }
                zip.closeEntry()
            }
        }
        return file
    }

    private fun names() = made.folder.walkTopDown().filter {
        it.isFile
    }.map { it.relativeTo(made.folder).path }.toList()

    @Test
    fun aZipIsABundleInWhateverOrderAndFolder() {
        for ((folder, names) in listOf("" to names().sorted(), "my/bundle/" to names().sortedDescending())) {
            val file = zip(folder, names)
            assertEquals("made", run { ZipSource("made") { file.inputStream() } }.imported?.take(4))
        }
        assertEquals(2, added.size)
    }

    @Test
    fun aZipThatIsNoneOrLacksAFileIsAProblem() {
        val text = File(temporary.root, "text.zip").also { it.writeText("no zip") }
        assertEquals("MISSING_FILE", run { ZipSource("text") { text.inputStream() } }.problem!!.code)
        val short = zip("", names().filter { it != "tokenizer.json" })
        val state = run { ZipSource("short") { short.inputStream() } }
        assertEquals("MISSING_FILE", state.problem!!.code)
        assertEquals(listOf("tokenizer.json"), state.problem.arguments)
        val whole = zip("", names())
        val cut = whole.readBytes().copyOf((whole.length() / 2).toInt())
        assertTrue(run { ZipSource("cut") { cut.inputStream() } }.problem != null)
        assertEquals(emptyList<String>(), left())
    }
}
