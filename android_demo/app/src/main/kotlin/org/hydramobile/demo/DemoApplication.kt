/*
 * What lives as long as the app's process: models, the one that is loaded, the conversation, settings.
 */
package org.hydramobile.demo

import android.app.Application
import android.content.ComponentCallbacks2
import android.content.Context
import android.os.Handler
import android.os.Looper
import org.hydramobile.screens.AskSettings
import org.hydramobile.screens.Asker
import org.hydramobile.screens.Conversation
import org.hydramobile.screens.Importer
import org.hydramobile.screens.ModelImport
import org.hydramobile.screens.ModelStore
import java.io.File
import java.util.concurrent.Executor
import java.util.concurrent.Executors

/** Made by the system; `demo` finds it. */
class DemoApplication : Application() {
    /** Runs tasks on the thread of the screens. */
    val screens: Executor by lazy { Handler(Looper.getMainLooper()).let { Executor(it::post) } }

    /** Files and pictures; answers have a thread of their own. */
    val files: Executor by lazy { Executors.newSingleThreadExecutor { Thread(it, "files") } }

    /** Everything that adb may write to; null storage (a phone whose card was taken out) leaves the app's own. */
    val shared: File by lazy { getExternalFilesDir(null) ?: filesDir }

    val store by lazy { ModelStore(File(shared, "models").also { it.mkdirs() }, RUNTIMES.keys) }
    val conversation by lazy { Conversation(File(filesDir, "conversation.jsonl")) }
    internal val picture by lazy { PictureFile(File(filesDir, "picture")) }
    val importer by lazy { Importer(ModelImport(store, RUNTIMES.keys) { device() }, files, screens) }
    val asker by lazy {
        val worker = Executors.newSingleThreadExecutor { Thread(it, "model") }
        Asker(store, RUNTIMES, worker, screens, conversation, { device() })
    }

    private val kept by lazy { getSharedPreferences("settings", Context.MODE_PRIVATE) }

    val settings: AskSettings
        get() = AskSettings.kept(typed(THREADS), typed(MOST_TOKENS), typed(TEMPERATURE))

    /** Folder of the model that is used; the only one where none was chosen. */
    var model: File?
        get() = kept.getString(MODEL, null)?.let { store.find(it) }
            ?: store.models(null).singleOrNull { it.problem == null }?.folder
        set(value) = kept.edit().putString(MODEL, value?.name).apply()

    override fun onCreate() {
        super.onCreate()
        // An import that was killed may have left gigabytes.
        files.execute { store.tidy() }
        AssetFolder.find(assets)?.let { importer.unpack(it) }
    }

    /** Asked to be small while nobody looks: the model can be loaded again. */
    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        if (level >= ComponentCallbacks2.TRIM_MEMORY_BACKGROUND && !asker.state.isBusy) asker.unload()
    }

    /** A setting as it was typed; empty: the default. */
    fun typed(name: String): String = kept.getString(name, null).orEmpty()

    fun keep(values: Map<String, String>) {
        val edit = kept.edit()
        for ((name, value) in values) edit.putString(name, value)
        edit.apply()
    }

    fun device() = deviceLimits(this, shared)

    companion object {
        const val THREADS = "threads"
        const val MOST_TOKENS = "most_tokens"
        const val TEMPERATURE = "temperature"
        private const val MODEL = "model"
    }
}

/** The app that a screen belongs to. */
internal val Context.demo: DemoApplication get() = applicationContext as DemoApplication
