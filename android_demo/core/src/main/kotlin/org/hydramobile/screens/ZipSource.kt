/*
 * A bundle in one zip file, read as a stream: where it lies may allow nothing else.
 */
package org.hydramobile.screens

import org.hydramobile.core.Manifest
import java.io.Closeable
import java.io.FilterInputStream
import java.io.IOException
import java.io.InputStream
import java.util.zip.ZipInputStream

/**
 * The zip that [stream] opens, each time from its beginning. Its files may lie in a folder of the zip.
 *
 * A bundle's manifest names its files in about the order in which they were packed, so that looking on from where the
 * last one was found reads the zip about twice.
 */
class ZipSource(override val title: String, private val stream: () -> InputStream) :
    BundleSource,
    Closeable {
    private var zip: ZipInputStream? = null
    private var folder: String? = null

    override fun open(path: String): InputStream? {
        val prefix = folder ?: folderOf().also { folder = it }
        val wanted = prefix + path
        // The rest of the zip, then all of it.
        return find(zip, wanted) ?: find(again(), wanted)
    }

    override fun close() {
        zip?.close()
        zip = null
    }

    private fun find(from: ZipInputStream?, wanted: String): InputStream? {
        while (true) {
            val entry = from?.nextEntry ?: return null
            if (entry.name == wanted) return Entry(from)
        }
    }

    private fun again(): ZipInputStream {
        close()
        return ZipInputStream(stream()).also { zip = it }
    }

    /** Where the manifest lies. */
    private fun folderOf(): String {
        val all = again()
        while (true) {
            val name = all.nextEntry?.name ?: break
            if (name == Manifest.NAME || name.endsWith("/${Manifest.NAME}")) {
                // It is read from the beginning again.
                close()
                return name.removeSuffix(Manifest.NAME)
            }
        }
        close()
        return ""
    }

    /** One entry; closing it leaves the zip open. Damage is an IOException by the JVM, but for one kind. */
    private class Entry(zip: ZipInputStream) : FilterInputStream(zip) {
        override fun close() = Unit

        override fun read(bytes: ByteArray, from: Int, count: Int): Int = try {
            super.read(bytes, from, count)
        } catch (error: IllegalArgumentException) {
            throw IOException("the zip is damaged: ${error.message}", error)
        }
    }
}
