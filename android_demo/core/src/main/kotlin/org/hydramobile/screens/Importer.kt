/*
 * An import in the background that outlives a turn of the phone. Made once by the app; the screen of models
 * listens. Knows no Android.
 */
package org.hydramobile.screens

import org.hydramobile.core.BundleException
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.CheckProgress
import java.io.File
import java.util.concurrent.Executor

/** [share] is done, 0 to 1, while [isBusy]; [name]: of the model that was imported; [problem]: why none was. */
class ImportState(
    val isBusy: Boolean = false,
    val share: Double = 0.0,
    val name: String? = null,
    val problem: String? = null,
)

/** Told of every change, on the thread of the screens. */
fun interface ImportListener {
    fun onState(state: ImportState)
}

/** Runs one import at a time on [worker] and tells of it on [screens]. */
class Importer(private val models: ModelImport, private val worker: Executor, private val screens: Executor) {
    /** The last state; for the thread of the screens. */
    var state = ImportState()
        private set

    /** Who is told; for the thread of the screens. A new one is told at once. */
    var listener: ImportListener? = null
        set(value) {
            field = value
            value?.onState(state)
        }

    @Volatile
    private var isStopped = false

    /** Import a bundle; without effect while one is imported. */
    fun start(source: BundleSource) = begin { progress -> models.run(source, progress) }

    /** Unpack the model that came with the app, where that was not done before; goes on where it ended early. */
    fun unpack(source: BundleSource) = begin { progress -> models.unpack(source, progress) }

    private fun begin(work: (CheckProgress) -> File?) {
        if (state.isBusy) return
        isStopped = false
        take(ImportState(isBusy = true))
        worker.execute {
            val last = try {
                val folder = work { done, total ->
                    show(ImportState(isBusy = true, share = done.toDouble() / maxOf(1, total)))
                    !isStopped
                }
                ImportState(name = folder?.name)
            } catch (error: BundleException) {
                ImportState(problem = if (error.problem == BundleProblem.CANCELLED) null else error.message)
            } catch (error: RuntimeException) {
                // Of whoever provides the files: it may be any app.
                ImportState(problem = "The bundle cannot be read: $error. Copy it to the phone's storage first.")
            }
            show(last)
        }
    }

    /** End it; nothing of an import stays. */
    fun stop() {
        isStopped = true
    }

    private fun show(state: ImportState) = screens.execute { take(state) }

    private fun take(state: ImportState) {
        this.state = state
        listener?.onState(state)
    }
}
