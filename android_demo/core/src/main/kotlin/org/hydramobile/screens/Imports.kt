/*
 * An import in the background that outlives a turn of the phone; one at a time.
 */
package org.hydramobile.screens

import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.CheckProgress
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.util.concurrent.Executor

/**
 * [name] is being imported, [share] of it is done, 0 to 1; null: nothing is. [imported]: the model that the last one
 * became; [problem]: why it became none.
 */
class ImportState(
    val name: String? = null,
    val share: Double = 0.0,
    val imported: String? = null,
    val problem: Problem? = null,
    val isUnpacking: Boolean = false,
) {
    val isBusy: Boolean get() = name != null
}

/**
 * [worker]: gives each task a thread, for one may hang in another app. [files]: of the store, one task at a time.
 * [onImported]: told of a new model, on the thread of the screens.
 */
class Imports(
    private val models: ModelImport,
    private val store: ModelStore,
    private val worker: Executor,
    private val files: Executor,
    private val screens: Executor,
    private val onImported: (File) -> Unit,
) {
    private var job: Job? = null
    val told = Told(ImportState(), screens)

    private class Job {
        @Volatile
        var isStopped = false

        @Volatile
        var thread: Thread? = null
    }

    /** Delete what a killed process has left, and tell of an import that it ended. */
    fun recover() = files.execute {
        // An import that was killed may have left gigabytes.
        store.tidy()
        val lost = store.importing ?: return@execute
        store.importing = null
        screens.execute { if (!told.now.isBusy) told.set(ImportState(problem = Problem(Problem.IMPORT_LOST, lost))) }
    }

    /** Import the bundle that [source] gives, on a thread that may wait for another app; false: one is imported. */
    fun start(name: String, source: () -> BundleSource) = begin(name, false) { progress ->
        val opened = source()
        try {
            models.run(opened, progress)
        } finally {
            (opened as? Closeable)?.close()
        }
    }

    /** Unpack the model that came with the app, where that was not done before; goes on where it ended early. */
    fun unpack(source: () -> BundleSource?) =
        begin("", true) { progress -> source()?.let { models.unpack(it, progress) } }

    private fun begin(name: String, isUnpacking: Boolean, work: (CheckProgress) -> File?): Boolean {
        if (told.now.isBusy) return false
        val own = Job().also { job = it }
        told.set(ImportState(name, isUnpacking = isUnpacking))
        // What an earlier process has left goes first.
        files.execute {
            if (!isUnpacking) note(name)
            worker.execute { run(own, name, isUnpacking, work) }
        }
        return true
    }

    private fun run(own: Job, name: String, isUnpacking: Boolean, work: (CheckProgress) -> File?) {
        own.thread = Thread.currentThread()
        var percent = -1
        val end = try {
            val folder = work { done, total ->
                val now = (100 * done / maxOf(1, total)).toInt()
                if (now != percent) show(own, ImportState(name, now / 100.0, isUnpacking = isUnpacking))
                percent = now
                !own.isStopped
            }
            if (folder != null) screens.execute { onImported(folder) }
            ImportState(imported = folder?.name)
        } catch (error: BundleException) {
            ImportState(problem = Problem.of(error))
        } catch (error: OutOfMemoryError) {
            ImportState(problem = Problem.of(error))
        } catch (error: Throwable) {
            // Of whoever provides the files: it may be any app, with errors of its own.
            ImportState(problem = Problem.known(error) ?: Problem(Problem.SOURCE, error.message ?: error.toString()))
        }
        // An interruption that came late is not for who has the thread next.
        Thread.interrupted()
        own.thread = null
        screens.execute { end(own, end) }
    }

    /** End it at once; nothing of it stays, though another app may be waited for a while longer. */
    fun stop() {
        val own = job ?: return
        own.isStopped = true
        own.thread?.interrupt()
        end(own, ImportState())
    }

    /** The news of the last import is no longer true. */
    fun forget() {
        if (!told.now.isBusy) told.set(ImportState())
    }

    private fun end(own: Job, state: ImportState) {
        if (job !== own) return
        job = null
        told.drop()
        told.set(state)
        files.execute { note(null) }
    }

    private fun note(name: String?) = try {
        store.root.mkdirs()
        store.importing = name
    } catch (_: IOException) {
        // A full disk: the import tells.
    }

    private fun show(own: Job, state: ImportState) = screens.execute { if (job === own) told.set(state) }
}
