/*
 * A bundle in one zip file, read as a stream: where it lies may allow nothing else.
 */
package org.hydramobile.screens

import org.hydramobile.core.Manifest
import java.io.Closeable
import java.io.EOFException
import java.io.FilterInputStream
import java.io.InputStream
import java.io.InterruptedIOException
import java.util.zip.ZipException
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
        val zip = from ?: return null
        while (true) {
            val entry = next(zip) ?: return null
            if (entry.name == wanted) return Entry(zip)
        }
    }

    private fun next(zip: ZipInputStream) = whole { zip.nextEntry }

    private fun again(): ZipInputStream {
        close()
        return ZipInputStream(Interruptible(stream())).also { zip = it }
    }

    /** Where the manifest lies. */
    private fun folderOf(): String {
        val all = again()
        while (true) {
            val name = next(all)?.name ?: break
            if (name == Manifest.NAME || name.endsWith("/${Manifest.NAME}")) {
                // It is read from the beginning again.
                close()
                return name.removeSuffix(Manifest.NAME)
            }
        }
        close()
        return ""
    }

    /** Ends with the import: what lies between two files may unpack to more than anyone waits for. */
    private class Interruptible(stream: InputStream) : FilterInputStream(stream) {
        override fun read(bytes: ByteArray, from: Int, count: Int): Int {
            if (Thread.currentThread().isInterrupted) throw InterruptedIOException("the import was stopped")
            return super.read(bytes, from, count)
        }
    }

    /** One entry; closing it leaves the zip open. */
    private class Entry(zip: ZipInputStream) : FilterInputStream(zip) {
        override fun close() = Unit

        override fun read(bytes: ByteArray, from: Int, count: Int): Int = whole { super.read(bytes, from, count) }
    }

    private companion object {
        /** The kinds of errors by which the JVM tells of damage. */
        fun <T> whole(action: () -> T): T = try {
            action()
        } catch (error: ZipException) {
            throw ProblemException(Problem(Problem.ZIP_DAMAGED), error)
        } catch (error: EOFException) {
            throw ProblemException(Problem(Problem.ZIP_DAMAGED), error)
        } catch (error: IllegalArgumentException) {
            throw ProblemException(Problem(Problem.ZIP_DAMAGED), error)
        }
    }
}
