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
import java.util.ArrayDeque
import java.util.concurrent.Executor

/** What the screen of models is told of an import. */
class ImporterTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var made: MadeBundle
    private lateinit var importer: Importer
    private lateinit var root: File
    private val tasks = ArrayDeque<Runnable>()
    private val states = ArrayList<ImportState>()
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
        root = temporary.newFolder("models")
        val models = ModelImport(ModelStore(root, setOf("onnx")), setOf("onnx")) {
            DeviceLimits(4L shl 30, 8L shl 30, listOf("arm64-v8a"), 30, 1L shl 30)
        }
        importer = Importer(models, Executor { tasks.add(it) }, Executor { it.run() })
        importer.listener = ImportListener { states.add(it) }
    }

    private fun run(): ImportState {
        importer.start(source)
        importer.start(source)
        assertEquals("one at a time", 1, tasks.size)
        tasks.poll()!!.run()
        return importer.state
    }

    @Test
    fun toldHowFarItIs() {
        assertEquals("int4", run().name)
        val shares = states.filter { it.isBusy }.map { it.share }
        assertTrue(shares.size > 5)
        assertEquals(shares.sorted(), shares)
        assertFalse(states.last().isBusy)
    }

    @Test
    fun stoppedWithoutAMessage() {
        onOpen = { importer.stop() }
        val state = run()
        assertNull(state.name)
        assertNull(state.problem)
        onOpen = {}
        assertEquals("int4", run().name)
    }

    @Test
    fun whateverTheOtherAppThrowsIsAMessage() {
        onOpen = { throw SecurityException("not granted") }
        assertTrue(run().problem, importer.state.problem!!.contains("not granted"))
        assertEquals(0, root.listFiles()!!.size)
    }
}
