package org.hydramobile.screens

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.InputStream

/** Pictures that come while others go. */
class PictureStoreTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun store() = PictureStore(folder.root) {}

    /** [bytes], with something done in their middle. */
    private fun stream(bytes: ByteArray, middle: () -> Unit) = object : InputStream() {
        private var at = 0

        override fun read(): Int {
            if (at == bytes.size / 2) middle()
            return if (at < bytes.size) bytes[at++].toInt() else -1
        }
    }

    @Test
    fun aPictureThatIsBeingTakenIsNotTidiedAway() {
        // The app was started by a share: what earlier processes left is deleted while the picture comes.
        val store = store()
        val bytes = ByteArray(200_000) { (it % 100).toByte() }
        val id = store.take(stream(bytes) { store.tidy() })
        assertArrayEquals(bytes, store.file(id).readBytes())
    }

    @Test
    fun whatAKilledProcessWasTakingGoes() {
        val left = File(folder.root, "left.tmp").also { it.writeText("half") }
        store().tidy()
        assertFalse(left.exists())
    }

    @Test
    fun onlyWhatIsNamedStays() {
        val store = store()
        val ids = List(3) { number -> store.take(ByteArray(10) { number.toByte() }.inputStream()) }
        store.keepOnly { null }
        assertEquals(ids.toSet(), folder.root.list()!!.toSet())
        store.keepOnly { setOf(ids[1]) }
        assertEquals(listOf(ids[1]), folder.root.list()!!.toList())
    }
}
