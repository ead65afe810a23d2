/*
 * The models on this device: one folder each, what is known of them, and what has been checked.
 *
 * A folder may come from an import or from `adb push`; nothing tells the app about the second, so the list is
 * read anew each time. Hashing takes seconds for each gigabyte and is remembered until a file changes. Knows no
 * Android. Not for the thread of the screens.
 */
package org.hydramobile.screens

import org.hydramobile.core.Bundle
import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.CheckProgress
import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.Manifest
import java.io.File
import java.io.IOException

/** A folder of the store; [manifest] is null where [problem] is that it cannot be read. */
class StoredModel(
    val folder: File,
    val manifest: Manifest?,
    /** Why it cannot be used here; null: it can, as far as is known. */
    val problem: Problem?,
    /** Its hashes were compared, and no file has changed since. */
    val isChecked: Boolean,
) {
    val name: String get() = folder.name
}

/** The folders below [root]; [runtimes]: those that the app has. [place] is asked for the root when it is needed. */
class ModelStore(private val runtimes: Set<String>, place: () -> File) {
    constructor(root: File, runtimes: Set<String>) : this(runtimes, { root })

    val root: File by lazy(place)

    /** All models by name; no file but the manifests is read. */
    fun models(device: DeviceLimits?): List<StoredModel> = folders().sortedBy { it.name }.map { describe(it, device) }

    /**
     * A model, ready to be loaded; hashes are compared unless they were before.
     *
     * @throws BundleException it cannot be used here.
     */
    fun open(folder: File, device: DeviceLimits?, progress: CheckProgress? = null): Bundle {
        val isChecked = isChecked(folder)
        val bundle = Bundle.open(folder, device, runtimes, progress, verifyHashes = !isChecked)
        if (!isChecked) remember(folder)
        return bundle
    }

    /** Delete a model; IOException: some of it is still there, and it is no model any more. */
    fun delete(folder: File) {
        mark(folder).run {
            delete()
            // Only where it is empty.
            parentFile?.delete()
        }
        // Out of the list first: a folder that is half deleted would be shown as damaged.
        val gone = File(root, "$HIDDEN${folder.name}")
        val doomed = if (folder.renameTo(gone)) gone else folder
        if (!doomed.deleteRecursively()) throw IOException("$doomed cannot be deleted completely")
    }

    /** Delete what an import or a deletion that was killed has left. */
    fun tidy() {
        root.listFiles { file -> file.isDirectory && file.name.startsWith(HIDDEN) }.orEmpty()
            .forEach { it.deleteRecursively() }
    }

    /** Name of the bundle whose import has begun and not ended, in a file: it outlives the process. */
    internal var importing: String?
        get() = File(root, IMPORTING).let { if (it.isFile) it.readText() else null }
        set(value) {
            val file = File(root, IMPORTING)
            if (value == null) file.delete() else file.writeText(value)
        }

    /** A folder for an import, which [keep] turns into a model. */
    internal fun temporary(): File {
        val folder = File(root, "${HIDDEN}import-${System.nanoTime()}")
        if (!folder.mkdirs()) throw IOException("$folder cannot be made")
        return folder
    }

    /** The folder of a model that came with the app and is on its way, as far as it was copied. */
    internal fun partial(key: String): File {
        val folder = File(root, "$PARTIAL${key.take(KEY)}")
        root.listFiles { file -> file.name.startsWith(PARTIAL) && file != folder }.orEmpty()
            .forEach { it.deleteRecursively() }
        if (!folder.isDirectory && !folder.mkdirs()) throw IOException("$folder cannot be made")
        return folder
    }

    /** Which model that came with the app has become one here; it may have been deleted since. */
    internal var unpacked: String
        get() = File(root, UNPACKED).let { if (it.isFile) it.readText() else "" }
        set(value) = File(root, UNPACKED).writeText(value)

    /** Make a checked folder a model, under [name] or a name like it. */
    internal fun keep(temporary: File, name: String): File {
        val wanted = name.map { if (it.isLetterOrDigit() || it in "._- ") it else '_' }.joinToString("")
            .trim().trimStart('.').take(LONGEST_NAME).ifEmpty { "model" }
        val target = generateSequence(1) { it + 1 }
            .map { File(root, if (it == 1) wanted else "$wanted $it") }
            .first { !it.exists() }
        if (!temporary.renameTo(target)) throw IOException("$temporary cannot be renamed to $target")
        remember(target)
        return target
    }

    private fun folders(): List<File> =
        root.listFiles { file -> file.isDirectory && !file.name.startsWith(".") }.orEmpty().toList()

    private fun describe(folder: File, device: DeviceLimits?): StoredModel {
        val file = File(folder, Manifest.NAME)
        val manifest = try {
            if (!file.isFile) {
                return StoredModel(folder, null, Problem(BundleProblem.MISSING_FILE.name, Manifest.NAME), false)
            }
            if (file.length() > Manifest.MOST_BYTES) {
                return StoredModel(folder, null, Problem(BundleProblem.DAMAGED_MANIFEST.name, Manifest.NAME), false)
            }
            Manifest.parse(file.readBytes(), file.path, runtimes)
        } catch (error: BundleException) {
            return StoredModel(folder, null, Problem.of(error), false)
        } catch (error: IOException) {
            return StoredModel(folder, null, Problem(BundleProblem.UNREADABLE_FILE.name, "${error.message}"), false)
        }
        val misfit = try {
            // What other apps hold now may be free in a minute: it is told when the model is loaded.
            device?.requireEver(manifest)
            null
        } catch (error: BundleException) {
            Problem.of(error)
        }
        return StoredModel(folder, manifest, misfit, isChecked(folder))
    }

    private fun isChecked(folder: File): Boolean = try {
        val mark = mark(folder)
        mark.isFile && mark.readText() == stateOf(folder)
    } catch (_: IOException) {
        false
    }

    private fun remember(folder: File) {
        try {
            mark(folder).run {
                parentFile?.mkdirs()
                writeText(stateOf(folder))
            }
        } catch (_: IOException) {
            // It will be checked again next time.
        }
    }

    private fun mark(folder: File) = File(File(root, MARKS), "${folder.name}.txt")

    /** Sizes and times of all files: what changes when one is replaced. */
    internal fun stateOf(folder: File): String = folder.walkTopDown().filter { it.isFile }
        .sortedBy { it.path }
        .joinToString("\n") { "${it.relativeTo(folder).path} ${it.length()} ${it.lastModified()}" }

    private companion object {
        const val PARTIAL = ".partial-"
        const val UNPACKED = ".unpacked"
        const val IMPORTING = ".importing"
        const val KEY = 16
        const val HIDDEN = ".hidden-"
        const val MARKS = ".checked"
        const val LONGEST_NAME = 60
    }
}
