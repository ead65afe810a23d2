/*
 * Pictures that are asked about: a file each that never changes, by an id.
 *
 * The app that gave a picture may take it back, so its bytes are copied. A file goes when nothing names its id any
 * more.
 */
package org.hydramobile.screens

import java.io.File
import java.io.IOException
import java.io.InputStream
import java.util.UUID
import java.util.concurrent.ConcurrentHashMap

/** Pictures in [folder]; [check] throws IOException for a file that is no picture. For any thread. */
class PictureStore(private val folder: File, private val check: (File) -> Unit) {
    /** Names of the files that are being written. */
    private val coming: MutableSet<String> = ConcurrentHashMap.newKeySet()

    /**
     * The id of the picture that [stream] gives, which is read to its end and closed.
     *
     * @throws ProblemException it is too large, or no picture.
     */
    fun take(stream: InputStream): String {
        val id = UUID.randomUUID().toString()
        val temporary = File(folder, "$id.tmp").also { coming.add(it.name) }
        try {
            folder.mkdirs()
            stream.use { copy(it, temporary) }
            check(temporary)
            if (!temporary.renameTo(file(id))) throw IOException("the file cannot be kept")
            return id
        } catch (error: ProblemException) {
            throw error
        } catch (error: Exception) {
            // Whoever gives it may be any app, with errors of its own.
            throw ProblemException(Problem(Problem.PICTURE_UNREADABLE, error.message ?: error.toString()), error)
        } finally {
            temporary.delete()
            coming.remove(temporary.name)
        }
    }

    fun file(id: String) = File(folder, id)

    /** Delete all pictures but those that [names] gives, which is asked when it is known what there is; null: none. */
    fun keepOnly(names: () -> Set<String>?) {
        val all = folder.listFiles().orEmpty()
        val named = names() ?: return
        all.filter { !it.name.endsWith(".tmp") && it.name !in named }.forEach { it.delete() }
    }

    /** Delete what a killed process was taking. */
    fun tidy() = folder.listFiles().orEmpty()
        // One that this process is taking may be here already: it was shared when the app was not running.
        .filter { it.name.endsWith(".tmp") && it.name !in coming }
        .forEach { it.delete() }

    private fun copy(from: InputStream, to: File) {
        val piece = ByteArray(1 shl 16)
        var size = 0L
        to.outputStream().use { out ->
            while (true) {
                val count = from.read(piece)
                if (count < 0) break
                size += count
                if (size > MOST_BYTES) {
                    throw ProblemException(Problem(Problem.PICTURE_TOO_LARGE, "${MOST_BYTES shr 20} MiB"))
                }
                out.write(piece, 0, count)
            }
        }
    }

    private companion object {
        /** Several times what the largest cameras write. */
        const val MOST_BYTES = 256L shl 20
    }
}
