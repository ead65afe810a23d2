/*
 * Bringing a bundle into the store: judged by its manifest before a byte is copied, checked after.
 *
 * Knows no Android: where the files come from is behind `BundleSource`.
 */
package org.hydramobile.screens

import org.hydramobile.core.Bundle
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleFile
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.CheckProgress
import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.FileHash
import org.hydramobile.core.Manifest
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream

/** A folder that the user chose. */
interface BundleSource {
    /** Its name, for the model. */
    val title: String

    /** A file by its path in the folder, with `/`; null: there is none. IOException: it cannot be read. */
    fun open(path: String): InputStream?
}

/** Copies bundles into [store]; [device] is asked anew for each, its free disk space included. */
class ModelImport(
    private val store: ModelStore,
    private val runtimes: Set<String>,
    private val device: () -> DeviceLimits,
) {
    /**
     * The folder of the new model. [progress] counts every byte twice: copied, and checked.
     *
     * @throws BundleException the bundle is no good here, CANCELLED where [progress] said false; nothing of it stays.
     */
    fun run(source: BundleSource, progress: CheckProgress): File = explained {
        val bytes = manifestOf(source)
        val manifest = Manifest.parse(bytes, "${source.title}/${Manifest.NAME}", runtimes)
        device().requireEver(manifest)
        val folder = store.temporary()
        try {
            take(source, bytes, manifest, folder, progress)
        } finally {
            // Renamed where all went well.
            folder.deleteRecursively()
        }
    }

    /**
     * Copy out the model that came with the app; null: that was done before, whatever became of it since.
     *
     * As [run], but what was copied stays when the app ends early, and the next call goes on there.
     */
    fun unpack(source: BundleSource, progress: CheckProgress): File? = explained {
        val bytes = manifestOf(source)
        val key = FileHash.sha256(bytes)
        if (store.unpacked == key) return@explained null
        val manifest = Manifest.parse(bytes, "${source.title}/${Manifest.NAME}", runtimes)
        val folder = store.partial(key)
        val limits = device()
        limits.free(folder.walk().filter { it.isFile }.sumOf { it.length() }).requireEver(manifest)
        try {
            take(source, bytes, manifest, folder, progress).also { store.unpacked = key }
        } catch (error: BundleException) {
            // Copied again it would be wrong again: what is there may be what is wrong.
            if (error.problem != BundleProblem.CANCELLED) folder.deleteRecursively()
            throw error
        }
    }

    private fun take(
        source: BundleSource,
        bytes: ByteArray,
        manifest: Manifest,
        folder: File,
        progress: CheckProgress,
    ): File {
        Copy(source, folder, progress, manifest.totalBytes).all(manifest.files)
        File(folder, Manifest.NAME).writeBytes(bytes)
        Bundle.open(folder, null, runtimes, { done, total -> progress.onBytes(total + done, 2 * total) })
        return store.keep(folder, source.title)
    }

    private fun <T> explained(action: () -> T): T = try {
        action()
    } catch (error: IOException) {
        Problem.known(error)?.let { throw error }
        throw BundleException(BundleProblem.UNREADABLE_FILE, error.message ?: error.toString())
    }

    private fun manifestOf(source: BundleSource): ByteArray {
        val stream = source.open(Manifest.NAME) ?: throw BundleException(
            BundleProblem.MISSING_FILE,
            "The folder ${source.title} has no ${Manifest.NAME}. Choose a folder that `hydra-mobile export` wrote.",
            listOf(Manifest.NAME),
        )
        val bytes = stream.use { it.readAtMost(Manifest.MOST_BYTES.toInt() + 1) }
        if (bytes.size > Manifest.MOST_BYTES) {
            val what = "${Manifest.NAME} in ${source.title} has more than ${Manifest.MOST_BYTES} bytes."
            throw BundleException(BundleProblem.DAMAGED_MANIFEST, "$what It is no manifest; export the bundle again.")
        }
        return bytes
    }

    /** One copy on its way. */
    private inner class Copy(
        private val source: BundleSource,
        private val folder: File,
        private val progress: CheckProgress,
        private val bytes: Long,
    ) {
        private val piece = ByteArray(PIECE)
        private var done = 0L

        fun all(files: List<BundleFile>) = files.forEach(::copy)

        private fun copy(entry: BundleFile) {
            val target = File(folder, entry.name)
            if (!target.canonicalPath.startsWith(folder.canonicalPath + File.separator)) {
                throw BundleException(
                    BundleProblem.UNSAFE_PATH,
                    "${Manifest.NAME} names the file `${entry.name.take(200)}`, which lies outside of the bundle. " +
                        "Do not use this bundle unless you know who made it.",
                )
            }
            val stream = named(entry.name) { source.open(entry.name) } ?: throw BundleException(
                BundleProblem.MISSING_FILE,
                "${entry.name} is missing in ${source.title}; the manifest names it. Copy all of the bundle.",
                listOf(entry.name),
            )
            target.parentFile?.mkdirs()
            if (target.length() > entry.bytes) target.delete()
            var left = entry.bytes - target.length()
            done += target.length()
            stream.use { input ->
                input.skipAll(target.length())
                written(entry) { FileOutputStream(target, true) }.use { output ->
                    while (true) {
                        val count = named(entry.name) { input.read(piece) }
                        if (count < 0) break
                        left -= count
                        // More than was said could fill the disk; less is found by the check.
                        if (left < 0) throw longer(entry)
                        written(entry) { output.write(piece, 0, count) }
                        done += count
                        if (!progress.onBytes(done, 2 * bytes)) {
                            throw BundleException(BundleProblem.CANCELLED, "The import was stopped. Start it again.")
                        }
                    }
                }
            }
        }

        /** Other apps may have filled the disk since its room was looked at. */
        private fun <T> written(entry: BundleFile, action: () -> T): T = try {
            action()
        } catch (error: IOException) {
            val free = device().freeDiskBytes
            if (free == null || free > bytes - done) {
                val what = "${entry.name} cannot be written: ${error.message}"
                throw BundleException(BundleProblem.UNWRITABLE_FILE, what, listOf(what))
            }
            val sizes = listOf(bytes, free).map { DeviceLimits.mebibytes(it) }
            throw BundleException(
                BundleProblem.DISK_FULL,
                "The disk is full: the bundle has ${sizes[0]}, and ${sizes[1]} are free. Delete other models or " +
                    "files first.",
                sizes,
            )
        }

        /** An app's own words may tell an address only: the reader knows the file's name. */
        private fun <T> named(name: String, action: () -> T): T = try {
            action()
        } catch (error: IOException) {
            throw IOException("$name: ${error.message}", error)
        }

        private fun longer(entry: BundleFile) = BundleException(
            BundleProblem.WRONG_SIZE,
            "${entry.name} in ${source.title} has more bytes than the ${entry.bytes} that the manifest says. " +
                "The file was altered; export the bundle again.",
            listOf(entry.name),
        )
    }

    private companion object {
        const val PIECE = 1 shl 18

        fun InputStream.skipAll(count: Long) {
            var left = count
            while (left > 0) {
                val skipped = skip(left)
                if (skipped <= 0) throw IOException("the file is shorter than it was")
                left -= skipped
            }
        }

        fun InputStream.readAtMost(most: Int): ByteArray {
            var bytes = ByteArray(1 shl 16)
            var size = 0
            while (size < most) {
                if (size == bytes.size) bytes = bytes.copyOf(2 * size)
                val count = read(bytes, size, minOf(bytes.size, most) - size)
                if (count < 0) break
                size += count
            }
            return bytes.copyOf(size)
        }
    }
}
