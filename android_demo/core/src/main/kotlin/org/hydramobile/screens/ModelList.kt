/*
 * The models of this device as a state in memory, and which of them is used.
 */
package org.hydramobile.screens

import org.hydramobile.core.DeviceLimits
import java.io.File
import java.io.IOException
import java.util.concurrent.Executor

/** [used]: of the model that is asked; null: none can be. Bytes of all models, and free ones. */
class ModelsState(
    val models: List<StoredModel> = emptyList(),
    val used: ModelChoice? = null,
    val usedBytes: Long = 0,
    val freeBytes: Long = 0,
    val isRead: Boolean = false,
    val problem: Problem? = null,
)

/** Where the name of the model that is used is kept. */
interface KeptName {
    var name: String?
}

/** [files]: one task at a time. */
class ModelList(
    private val store: ModelStore,
    private val files: Executor,
    screens: Executor,
    private val kept: KeptName,
    private val device: () -> DeviceLimits,
) {
    val told = Told(ModelsState(), screens)

    /** Read the folders again: adb may have put a model there. */
    fun refresh() = files.execute { read(null) }

    /** Use a model. */
    fun use(name: String) {
        kept.name = name
        told.now.run { told.set(ModelsState(models, choice(models), usedBytes, freeBytes, isRead)) }
    }

    /** A model was imported: it is used where none is. */
    fun added(folder: File) {
        if (told.now.used == null) kept.name = folder.name
        refresh()
    }

    /** Delete a model; [before] is done first, on the same thread: whoever uses it lets go. */
    fun delete(folder: File, before: () -> Unit) = files.execute {
        before()
        val problem = try {
            store.delete(folder)
            null
        } catch (_: IOException) {
            Problem(Problem.NOT_DELETED, folder.name)
        }
        read(problem)
    }

    private fun read(problem: Problem?) {
        // Of a folder that is not there the system tells no free space.
        store.root.mkdirs()
        val models = store.models(device())
        val bytes = models.sumOf { it.manifest?.totalBytes ?: 0 }
        told.post(ModelsState(models, choice(models), bytes, store.root.usableSpace, true, problem))
    }

    private fun choice(models: List<StoredModel>): ModelChoice? {
        val usable = models.filter { it.problem == null }
        val found = usable.firstOrNull { it.name == kept.name } ?: usable.firstOrNull() ?: return null
        // Another model that comes later does not take its place.
        if (kept.name != found.name) kept.name = found.name
        return choiceOf(found)
    }

    companion object {
        fun choiceOf(model: StoredModel): ModelChoice {
            val manifest = model.manifest
            val asked = AskedModel(model.name, manifest?.preset.orEmpty(), manifest?.runtime.orEmpty())
            return ModelChoice(model.folder, asked)
        }
    }
}
