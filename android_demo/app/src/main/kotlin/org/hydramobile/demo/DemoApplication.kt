/*
 * What lives as long as the app's process: models, the one that is loaded, what is asked, imported and measured.
 *
 * Everything that it stands on is handed to it: runtimes, the clock, facts about the phone, executors. Tests hand
 * others.
 */
package org.hydramobile.demo

import android.app.Application
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.SharedPreferences
import android.os.Handler
import android.os.Looper
import org.hydramobile.core.RuntimeFactory
import org.hydramobile.screens.AskSettings
import org.hydramobile.screens.BundleSource
import org.hydramobile.screens.Chat
import org.hydramobile.screens.Draft
import org.hydramobile.screens.Imports
import org.hydramobile.screens.KeptName
import org.hydramobile.screens.Listener
import org.hydramobile.screens.Measurements
import org.hydramobile.screens.ModelHost
import org.hydramobile.screens.ModelImport
import org.hydramobile.screens.ModelList
import org.hydramobile.screens.ModelStore
import org.hydramobile.screens.PictureStore
import org.hydramobile.screens.TurnEnd
import java.io.File
import java.util.UUID
import java.util.concurrent.Executor
import java.util.concurrent.Executors

/** Made by the system; `demo` finds it. */
open class DemoApplication : Application() {
    /** By the manifest's runtime. */
    internal open val runtimes: Map<String, RuntimeFactory> get() = RUNTIMES

    /** Milliseconds since 1970. */
    internal open val clock: () -> Long = System::currentTimeMillis

    /** Facts about the phone. */
    internal open val phone: PhoneFacts by lazy { AndroidFacts(this) }

    /** Runs tasks on the thread of the screens. */
    open val screens: Executor by lazy { Handler(Looper.getMainLooper()).let { Executor(it::post) } }

    /** The model that was built into the app; null: none. Looking for it opens the app's own file. */
    internal open fun builtIn(): BundleSource? = AssetFolder.find(assets)

    internal val log = Log { clock() }

    /** Another one for each process: a screen may come back in another than it was made in. */
    internal val process = UUID.randomUUID().toString()

    /** Runs tasks one at a time, on a thread of their own. */
    protected open fun oneByOne(name: String): Executor = logged(Executors.newSingleThreadExecutor { Thread(it, name) })

    /** Runs each task at once: one may wait for another app as long as that wants. */
    protected open fun atOnce(name: String): Executor = logged(Executors.newCachedThreadPool { Thread(it, name) })

    /** What nobody foresaw is told, and ends the task only. */
    private fun logged(executor: Executor) = Executor { task ->
        executor.execute {
            try {
                task.run()
            } catch (error: Throwable) {
                log.add(error)
                screens.execute { tell(getString(R.string.problem_failed, error.toString())) }
            }
        }
    }

    /** Of the folders of models. */
    internal val folders by lazy { oneByOne("folders") }

    /** Of what is asked and measured, and of the pictures. */
    internal val records by lazy { oneByOne("records") }

    /** Of what other apps give, and of pictures for the screen. */
    internal val hands by lazy { atOnce("hands") }

    /** Everything that adb may write to; null storage (a phone whose card was taken out) leaves the app's own. */
    val shared: File by lazy { getExternalFilesDir(null) ?: filesDir }

    // Where that is, Android looks up on the disk.
    val store by lazy { ModelStore(runtimes.keys) { File(shared, "models") } }
    val host by lazy { ModelHost(store, runtimes, oneByOne("model")) { phone.limits() } }
    val models by lazy { ModelList(store, folders, screens, usedName) { phone.limits() } }
    val imports by lazy {
        val copies = ModelImport(store, runtimes.keys) { phone.limits(isCopied = true) }
        Imports(copies, store, hands, folders, screens) { models.added(it) }
    }
    internal val pictures by lazy { PictureStore(File(filesDir, "pictures"), ::requirePicture) }
    internal val thumbnails by lazy { Thumbnails(pictures, hands, screens) }
    val draft: Draft by lazy {
        Draft(File(filesDir, "draft.json"), pictures, hands, records, screens, ::forgetPictures)
    }
    val chat: Chat by lazy {
        val file = File(filesDir, "conversation.jsonl")
        Chat(file, host, records, screens, { readPicture(pictures.file(it)) }, clock, onForgotten = ::forgetPictures)
    }
    val measurements by lazy {
        Measurements(File(filesDir, "speed.jsonl"), host, records, screens, clock, { phone.thermal() })
    }
    internal val batches by lazy { Batches(this) }

    private val kept: SharedPreferences by lazy { getSharedPreferences("settings", Context.MODE_PRIVATE) }
    private val usedName = object : KeptName {
        override var name: String?
            get() = kept.getString(MODEL, null)
            set(value) = kept.edit().putString(MODEL, value).apply()
    }

    /** Threads that are taken where none are set; found out on a thread of the folders. */
    @Volatile
    private var fastCores = 0

    val settings: AskSettings
        get() = AskSettings.of { name ->
            kept.getString(name, null)?.takeIf { it.isNotBlank() && !(name == AskSettings.THREADS && it.trim() == "0") }
                ?: fastCores.toString().takeIf { name == AskSettings.THREADS }
        }

    /** As they were set: threads are 0 where the app chooses. */
    val ownSettings: AskSettings get() = AskSettings.of { kept.getString(it, null) }

    override fun onCreate() {
        super.onCreate()
        folders.execute { fastCores = phone.fastCores() }
        imports.recover()
        models.refresh()
        chat.read()
        draft.read()
        measurements.read()
        chat.told.listen(Listener { state -> turns(state.turns.lastOrNull()?.let { it.id to it.end }) })
        folders.execute { if (builtIn() != null) screens.execute { imports.unpack { builtIn() } } }
    }

    private var last: Pair<String, TurnEnd>? = null

    /** What fails may be a model that is gone or was replaced. */
    private fun turns(newest: Pair<String, TurnEnd>?) {
        if (newest != last && newest?.second == TurnEnd.FAILED) {
            models.refresh()
            chat.told.now.turns.last().problem?.let { log.add(it) }
        }
        last = newest
    }

    /** Delete the pictures that neither a turn nor the draft names. */
    private fun forgetPictures(): Unit = records.execute {
        pictures.keepOnly {
            val asked = draft.told.now
            val told = chat.told.now
            val isKnown = asked.isRead && told.isRead && !asked.isComing
            if (isKnown) told.turns.mapNotNull { it.picture }.toSet() + listOfNotNull(asked.picture) else null
        }
    }

    /** Asked to be small while nobody looks: the model can be loaded again. After what is being done. */
    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        if (level >= ComponentCallbacks2.TRIM_MEMORY_BACKGROUND) host.unload()
    }

    fun keep(values: Map<String, String?>) {
        val edit = kept.edit()
        for ((name, value) in values) edit.putString(name, value)
        edit.apply()
    }

    private companion object {
        const val MODEL = "model"
    }
}

/** The app that a screen belongs to. */
internal val Context.demo: DemoApplication get() = applicationContext as DemoApplication
