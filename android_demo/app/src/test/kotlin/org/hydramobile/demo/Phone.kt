/*
 * A phone with the app on it, for tests: a person's actions, Android's order of callbacks, and what can be seen.
 *
 * The one place that names the app's classes, ids and files; the tests speak of texts and screens.
 */
package org.hydramobile.demo

import android.app.Activity
import android.app.ActivityManager
import android.app.AlertDialog
import android.app.Application
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.ContextWrapper
import android.content.Intent
import android.content.pm.ActivityInfo
import android.content.res.Configuration
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.drawable.BitmapDrawable
import android.net.Uri
import android.os.Bundle
import android.os.Looper
import android.os.ParcelFileDescriptor
import android.provider.MediaStore
import android.view.View
import android.view.ViewGroup
import android.view.WindowManager
import android.widget.AdapterView
import android.widget.EditText
import android.widget.ImageView
import android.widget.ListView
import android.widget.TextView
import org.hydramobile.core.Json
import org.hydramobile.core.MadeBundle
import org.hydramobile.screens.AskSettings
import org.hydramobile.screens.BundleSource
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Before
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowAlertDialog
import org.robolectric.shadows.ShadowToast
import org.robolectric.shadows.ShadowView
import java.io.File
import java.io.RandomAccessFile
import java.time.Duration
import java.util.Collections
import java.util.Locale
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executor
import java.util.concurrent.TimeUnit

/** A test with a phone; each has a new one. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], qualifiers = "w411dp-h891dp-xhdpi", application = TestApp::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
abstract class PhoneTest {
    lateinit var phone: Phone

    @Before
    fun switchOn() {
        phone = Phone()
    }

    @After
    fun switchOff() {
        Model.reset()
        Model.builtIn = null
        OtherApps.release()
        assertEquals("errors that nobody caught: each would have ended the app", emptyList<Throwable>(), phone.crashes)
    }

    /** Show [scene], [look] at it, and leave the phone as it was. */
    fun <T> scene(scene: Scene, look: () -> T): T {
        phone.wipe()
        scene.show(phone)
        phone.draw()
        try {
            return look()
        } finally {
            Model.reset()
            OtherApps.release()
            phone.app.chat.stop()
            phone.app.imports.stop()
            phone.app.measurements.stop()
            phone.app.batches.stop()
        }
    }

    companion object {
        // Numbers: JUnit reads this class before there is an Android.
        const val BLUE = 0xFF143CDC.toInt()
        const val RED = 0xFFDC281E.toInt()
    }
}

/** Texts of the app that the tests look for. */
object Words {
    const val ASK = "Send"
    const val STOP = "Stop"
    const val CHOOSE = "Choose a picture"
    const val TAKE = "Take a photo"
    const val MODELS = "Models"
    const val SETTINGS = "Settings"
    const val SPEED = "Speed test"
    const val ABOUT = "About"
    const val MEASURE = "Measure"
    const val IMPORT = "Add a model"
    const val IMPORTED = "Imported"
    const val NO_MODEL = "No model"
    const val NO_MODELS = "No models yet"
    const val TOKENS_PER_SECOND = "tokens/\u2060s"
    const val MEASURED = "tokens a second"
}

/** The app, on runtimes that a test can hold up and break. */
open class TestApp : DemoApplication() {
    override val runtimes get() = FAKE_RUNTIMES
    override val phone: PhoneFacts by lazy { TestFacts(super.phone) }
    override val screens: Executor by lazy { untilTheEnd(super.screens) }

    /** The process has ended: what it still had to do is done no more, as on a phone. */
    @Volatile
    var isEnded = false

    /** The assets are looked through in the first process alone: Robolectric reads all of Android's for that. */
    override fun builtIn(): BundleSource? =
        Model.builtIn ?: if (Model.isLookedFor.getAndSet(true)) null else super.builtIn()

    override fun oneByOne(name: String): Executor = untilTheEnd(super.oneByOne(name))

    override fun atOnce(name: String): Executor = untilTheEnd(super.atOnce(name))

    private fun untilTheEnd(executor: Executor) = Executor { task ->
        if (!isEnded) executor.execute { if (!isEnded) task.run() }
    }

    /** Facts with a thermal state, which Robolectric has not. */
    private class TestFacts(private val real: PhoneFacts) : PhoneFacts by real {
        override fun thermal() = 1

        override fun fastCores() = 0
    }
}

/** The app's screens. */
enum class Screen(val kind: Class<out Activity>) {
    ANSWER(MainActivity::class.java),
    MODELS(ModelsActivity::class.java),
    SETTINGS(SettingsActivity::class.java),
    SPEED(SpeedActivity::class.java),
    ABOUT(AboutActivity::class.java),
    BATCH(BenchActivity::class.java),
}

/** A phone; [open] starts the app. Everything here is called on the thread of the screens, which is the test's. */
class Phone {
    private val stack = ArrayList<ActivityController<out Activity>>()

    val app: DemoApplication get() = process ?: RuntimeEnvironment.getApplication() as DemoApplication
    val screen: Activity get() = stack.last().get()
    val controller: ActivityController<out Activity> get() = stack.last()

    /** How many screens lie on each other. */
    val depth: Int get() = stack.size

    /** Folder that holds the models. */
    val models: File get() = app.store.root

    private var process: DemoApplication? = null

    /** What no thread caught: each would have ended the app. */
    val crashes: MutableList<Throwable> = Collections.synchronizedList(ArrayList())

    init {
        Model.reset()
        Thread.setDefaultUncaughtExceptionHandler { _, error -> crashes.add(error) }
        memory(8L shl 30, 4L shl 30)
    }

    // What is on the phone.

    /** Put a small bundle among the models, as adb would. */
    internal fun addModel(name: String = "first", change: (MadeBundle) -> Unit = {}): MadeBundle {
        val folder = File(models, name).also { it.mkdirs() }
        return madeIn(folder).also {
            change(it)
            it.write()
        }
    }

    /** A bundle outside of the app, for imports. */
    internal fun bundleElsewhere(name: String = "outside", change: (MadeBundle) -> Unit = {}): MadeBundle =
        madeIn(File(app.cacheDir, name).also { it.mkdirs() }).also {
            change(it)
            it.write()
        }

    /** The made bundle, with a tokenizer that knows every byte. */
    private fun madeIn(folder: File) = MadeBundle(folder).also { made ->
        val plain = (33..126) + (161..172) + (174..255)
        val letters = plain.map { it.toChar() } + (0 until 256 - plain.size).map { (256 + it).toChar() }
        val others = letters.filter { it != 'a' && it != 'b' }
        val entries = others.mapIndexed { at, it -> "${Json.write(it.toString())}: ${at + 4}" }
        made.tokenizer(MadeBundle.TOKENIZER.replace("\"ab\": 2", "\"ab\": 2, " + entries.joinToString()))
    }

    /** Make the system say how much memory there is. */
    fun memory(total: Long, available: Long) {
        val manager = app.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager
        val info = ActivityManager.MemoryInfo()
        info.totalMem = total
        info.availMem = available
        shadowOf(manager).setMemoryInfo(info)
    }

    /** Make the disk of the models say how much is free; before anything is opened, for it takes a new process. */
    fun freeDisk(bytes: Long) = useCard { real ->
        object : File(real!!.path) {
            override fun getUsableSpace() = bytes
            override fun getFreeSpace() = bytes
        }
    }

    /** A phone whose card is out: Android gives no folder for the app's files on it. */
    fun removeCard() = useCard { null }

    private fun useCard(change: (File?) -> File?) {
        card = change
        forget()
    }

    private var card: (File?) -> File? = { it }

    /** An earlier conversation of so many turns, as the app wrote it. */
    fun history(turns: Int) {
        val answer = "A cat on a mat. ".repeat(12)
        val line = """{"question": "What is this?", "answer": "$answer", "facts": "9 tokens/s"}"""
        File(app.filesDir, "conversation.jsonl").writeText("$line\n".repeat(turns))
        // The app reads it when its process starts.
        startProcess()
    }

    /** Put records into a file of the app; its next process reads them. */
    fun record(name: String, lines: List<String>) {
        // What the process before has left to do, it does before its files are others.
        drain()
        File(app.filesDir, name).writeText(lines.joinToString("") { "$it\n" })
        startProcess()
    }

    /** As new: nothing open, no model, nothing kept. */
    fun wipe() {
        while (stack.isNotEmpty()) back()
        // Screens that were asked for and not followed are none of the next phone's.
        while (shadowOf(RuntimeEnvironment.getApplication()).nextStartedActivity != null) continue
        comes(20) { !isBusy }
        drain()
        for (folder in listOf(app.filesDir, app.cacheDir, app.shared)) {
            folder.listFiles().orEmpty().forEach {
                it.deleteRecursively()
            }
        }
        app.keep(mapOf("model" to null))
        newProcess()
    }

    // Screens, in the order that Android documents.

    fun open(screen: Screen = Screen.ANSWER, intent: Intent = Intent(), state: Bundle? = null): Phone {
        val below = stack.lastOrNull()
        below?.pause()
        val above = Robolectric.buildActivity(screen.kind, intent)
        stack.add(above)
        enter(above, state)
        below?.let { it.saveInstanceState(Bundle()).stop() }
        idle()
        // What is on the disk comes from other threads, within a moment.
        drain()
        return this
    }

    private fun enter(above: ActivityController<out Activity>, state: Bundle?) {
        above.create(state).start()
        if (state != null) above.restoreInstanceState(state)
        above.postCreate(state).resume().visible().topActivityResumed(true)
    }

    /** Open the screens that the app has asked for since; two intents give two screens. */
    fun follow(): Phone {
        while (true) {
            val next = shadowOf(screen).nextStartedActivity ?: break
            // Pickers and cameras are other apps.
            val kind = Screen.values().firstOrNull { it.kind.name == next.component?.className } ?: continue
            if (kind.kind == screen.javaClass && isSingleTop(next)) controller.newIntent(next) else open(kind, next)
        }
        return this
    }

    /** Whether Android gives [intent] to the screen on top instead of making another; Robolectric leaves that out. */
    private fun isSingleTop(intent: Intent): Boolean {
        val mode = app.packageManager.getActivityInfo(intent.component!!, 0).launchMode
        val again = Intent.FLAG_ACTIVITY_CLEAR_TOP or Intent.FLAG_ACTIVITY_REORDER_TO_FRONT
        val flags = Intent.FLAG_ACTIVITY_SINGLE_TOP or again
        return mode != ActivityInfo.LAUNCH_MULTIPLE || intent.flags and flags != 0
    }

    /** The back key. */
    fun back(): Phone {
        val above = stack.removeAt(stack.size - 1)
        above.pause()
        stack.lastOrNull()?.restart()?.start()?.resume()
        above.stop().destroy()
        idle()
        return this
    }

    /** Another app comes to the front; [returnToApp] comes back. */
    fun leave(): Phone {
        controller.pause().saveInstanceState(Bundle()).stop()
        idle()
        return this
    }

    fun returnToApp(): Phone {
        controller.restart().start().resume()
        idle()
        return this
    }

    /** Turn the phone, change its language or anything else for which Android makes the screen anew. */
    fun turn(): Phone {
        controller.recreate()
        idle()
        return this
    }

    /** The system ends the process while the app is behind others, and the person comes back to it. */
    fun dieAndReturn(): Phone {
        val state = Bundle()
        val kind = Screen.values().first { it.kind == screen.javaClass }
        controller.pause().stop().saveInstanceState(state)
        // A process is ended a while after its screens were left: what they had to write is on the disk.
        drain()
        // Robolectric has one process: a new Application stands for the new one.
        stack.clear()
        newProcess()
        open(kind, state = state)
        return this
    }

    /** Start a new process with nothing open. */
    fun forget() {
        while (stack.isNotEmpty()) back()
        newProcess()
    }

    /** Set how many tokens an answer may have. */
    fun allowTokens(most: Int): Phone {
        app.keep(mapOf(AskSettings.MOST_TOKENS to "$most"))
        return this
    }

    private fun newProcess() {
        (app as TestApp).isEnded = true
        Model.reset()
        startProcess()
    }

    private fun startProcess() {
        val thread = Class.forName("android.app.ActivityThread").getMethod("currentActivityThread").invoke(null)
        val old = RuntimeEnvironment.getApplication()
        val apk = Application::class.java.getField("mLoadedApk").get(old)
        val fresh = TestApp()
        Application::class.java.getDeclaredMethod("attach", Context::class.java)
            .also { it.isAccessible = true }.invoke(fresh, PhoneContext(old.baseContext, card))
        apk.javaClass.getDeclaredField("mApplication").also { it.isAccessible = true }.set(apk, fresh)
        thread.javaClass.getDeclaredField("mInitialApplication").also { it.isAccessible = true }.set(thread, fresh)
        process = fresh
        fresh.onCreate()
    }

    /** The system asks for memory while the app is not seen. */
    fun trim(level: Int = ComponentCallbacks2.TRIM_MEMORY_COMPLETE): Phone {
        app.onTrimMemory(level)
        idle()
        return this
    }

    // A person's hands.

    fun tap(text: String): Phone {
        // Nobody taps twice at once; a double tap is written with `performClick`.
        idle(1000)
        val view = views().lastOrNull { isTapped(it) && says(it, text, whole = true) }
            ?: views().lastOrNull { isTapped(it) && says(it, text, whole = false) }
        if (view == null) fail("There is nothing to tap that says \"$text\". The screen says: ${texts()}")
        press(view!!)
        return follow()
    }

    private fun press(view: View) {
        val row = generateSequence(view) { it.parent as? View }.firstOrNull { it.parent is AdapterView<*> }
        if (view.isClickable || row == null) {
            ShadowView.clickOn(view)
        } else {
            val list = row.parent as AdapterView<*>
            val at = list.getPositionForView(row)
            list.performItemClick(row, at, list.getItemIdAtPosition(at))
        }
        idle()
    }

    private fun isTapped(view: View) = view.isEnabled && (view.isClickable || isMenuRow(view))

    /** A row of a menu is tapped as a whole. */
    private fun isMenuRow(view: View) = view.id == R.id.menu_title

    /** What can be tapped and says [text]. */
    fun view(text: String): View = views().first { it.isClickable && says(it, text, whole = true) }

    /** Whether [view] leads to a picture. */
    fun choosesPicture(view: View) = says(view, "picture", whole = false)

    fun canTap(text: String) = views().any { isTapped(it) && says(it, text, whole = true) }

    private fun says(view: View, english: String, whole: Boolean): Boolean {
        val text = spoken(english).let { if (whole) it else Pseudo.part(it) }
        val said = listOf((view as? TextView)?.text, view.contentDescription).map { it?.toString().orEmpty() }
        return said.any { if (whole) it.equals(text, true) else it.contains(text, true) }
    }

    /** One of the app's texts in the phone's language; a text that is none of the app's stays as it is. */
    private fun spoken(english: String): String {
        val own = app.resources.configuration
        if (own.locales[0].country != Pseudo.COUNTRY) return english
        val plain = app.createConfigurationContext(Configuration(own).also { it.setLocale(Locale.ENGLISH) })
        val ids = R.string::class.java.fields.map { it.getInt(null) }
        return ids.firstOrNull { plain.getString(it) == english }?.let { screen.getString(it) } ?: english
    }

    /** An entry of the menu; [follows]: false leaves the screen that it asks for unopened. */
    fun menu(title: String, follows: Boolean = true): Phone {
        idle(1000)
        ShadowView.clickOn(screen.findViewById(R.id.more))
        idle()
        press(views().last { isMenuRow(it) && says(it, title, whole = true) })
        return if (follows) follow() else this
    }

    /** Ask for an empty chat, without answering whether it is meant. */
    fun askToClear(): Phone {
        idle(1000)
        ShadowView.clickOn(screen.findViewById(R.id.new_chat))
        idle()
        return this
    }

    fun clear(): Phone = askToClear().confirm()

    /** Make a model the one that is asked, on the screen of models. */
    fun use(name: String): Phone {
        drain()
        return if (canTap("Use $name")) tap("Use $name") else this
    }

    fun removePicture(): Phone {
        idle(1000)
        val ways = listOf(R.id.give_up_picture, R.id.remove_picture).map { screen.findViewById<View>(it) }
        ways.filter { it.isShown }.forEach { ShadowView.clickOn(it) }
        idle()
        return this
    }

    val question: EditText get() = screen.findViewById(R.id.question)

    fun type(text: String): Phone {
        question.setText(text)
        question.setSelection(question.text.length)
        return this
    }

    fun ask(text: String): Phone = type(text).tap(Words.ASK)

    /** Send as soon as it can be sent: the list of models is read when the app starts. */
    fun askWhenReady(text: String): Phone =
        waitFor("a model is to be there") { app.models.told.now.used != null }.ask(text)

    /** Answer the dialog on the screen. */
    fun confirm(): Phone {
        val dialog = ShadowAlertDialog.getLatestAlertDialog()
        dialog.getButton(AlertDialog.BUTTON_POSITIVE).performClick()
        idle()
        return this
    }

    /** Choose a picture, as the picker gives it: the screen is stopped meanwhile. */
    fun choose(uri: Uri): Phone = answered(Intent().setData(uri), "Add a picture", Words.CHOOSE)

    /** Choose a folder for an import. */
    fun chooseFolder(tree: Uri): Phone = answered(Intent().setData(tree), Words.IMPORT, "Folder")

    /** Choose a zip file for an import. */
    fun chooseZip(zip: Uri): Phone = answered(Intent().setData(zip), Words.IMPORT, "Zip file")

    /** Press [buttons] one after the other, let the other app answer with [data], come back. */
    fun answered(data: Intent?, vararg buttons: String): Phone {
        for (button in buttons) {
            idle(1000)
            press(views().last { isTapped(it) && says(it, button, whole = true) })
        }
        return finish(data)
    }

    private fun finish(data: Intent?, turned: Boolean = false, died: Boolean = false): Phone {
        val started = shadowOf(screen).nextStartedActivityForResult
            ?: return this.also { fail("No other app was started.") }
        if (died) dieAndReturn() else controller.pause().saveInstanceState(Bundle()).stop()
        if (turned) controller.recreate()
        // A screen that was made anew has no memory of the intent in Robolectric; the request's number is Android's.
        if (turned || died) {
            val result = Activity::class.java.getDeclaredMethod(
                "onActivityResult", Int::class.java, Int::class.java, Intent::class.java,
            )
            result.isAccessible = true
            result.invoke(screen, started.requestCode, Activity.RESULT_OK, data)
        } else {
            controller.restart().start()
            shadowOf(screen).receiveResult(started.intent, Activity.RESULT_OK, data)
            controller.resume()
        }
        idle()
        return this
    }

    /** Take a photo: the camera writes [bytes] to the address that it was given. */
    fun photo(bytes: ByteArray, turned: Boolean = false, died: Boolean = false): Phone {
        val uri = photoAddress()
        app.contentResolver.openFileDescriptor(uri, "wt")!!.use { file ->
            ParcelFileDescriptor.AutoCloseOutputStream(file).use { it.write(bytes) }
        }
        return finish(null, turned, died)
    }

    /** Start the camera and give the address that it may write to. */
    fun photoAddress(): Uri {
        tap("Add a picture").tap(Words.TAKE)
        waitFor("the camera is to be started") { shadowOf(screen).peekNextStartedActivityForResult() != null }
        val started = shadowOf(screen).peekNextStartedActivityForResult()
        val uri = started.intent.getParcelableExtra<Uri>(MediaStore.EXTRA_OUTPUT)!!
        Robolectric.buildContentProvider(PhotoProvider::class.java).create(uri.authority)
        return uri
    }

    /** Nothing can be written into the cache any more, as on a full disk. */
    fun blockCache() {
        val cache = app.cacheDir
        cache.deleteRecursively()
        cache.writeText("")
    }

    /** The file of the conversation cannot be written, as on a full disk. */
    fun blockHistory() {
        File(app.filesDir, "conversation.jsonl").mkdirs()
    }

    /** What the button that deletes [model] says to a screen reader. */
    fun deleteButton(model: String): String = views().filter { it.isClickable }
        .mapNotNull { it.contentDescription?.toString() }
        .first { it == screen.getString(R.string.delete_which, model) }

    /** How many pickers were asked for since the last. */
    fun startedPickers(): Int {
        var count = 0
        while (true) {
            val next = shadowOf(screen).nextStartedActivityForResult ?: return count
            if (next.requestCode >= 0) count++
        }
    }

    /** Files of the app that belong to no model, picture or setting. */
    fun strayFiles(): List<String> = models.parentFile!!.walkTopDown()
        .filter { it.isFile && !it.path.startsWith(models.path) }.map { it.path }.toList()

    // A person's eyes.

    /** Run what is due; the system's clock, which Robolectric stops, goes on by [milliseconds]. */
    fun idle(milliseconds: Long = 20) = shadowOf(Looper.getMainLooper()).idleFor(Duration.ofMillis(milliseconds))

    /** All views that are shown: of the screen, then of the windows above it. */
    fun views(): List<View> {
        val found = ArrayList<View>()
        fun walk(view: View) {
            if (view.visibility != View.VISIBLE) return
            found.add(view)
            if (view is ViewGroup) for (index in 0 until view.childCount) walk(view.getChildAt(index))
        }
        walk(screen.window.decorView)
        windows().forEach { walk(it) }
        return found
    }

    /** Menus and dialogs of the screen. */
    fun windows(): List<View> {
        val manager = Class.forName("android.view.WindowManagerGlobal").getMethod("getInstance").invoke(null)
        val field = manager!!.javaClass.getDeclaredField("mViews").also { it.isAccessible = true }
        @Suppress("UNCHECKED_CAST")
        return (field.get(manager) as List<View>).filter { it !== screen.window.decorView && isOfScreen(it) }
    }

    private fun isOfScreen(view: View) =
        generateSequence(view.context) { (it as? ContextWrapper)?.baseContext }.any { it === screen } &&
            stack.none { it.get() !== screen && it.get().window.decorView === view }

    /** Pictures on the screen; the icons of the window's bar are none. */
    fun pictures(): List<ImageView> {
        val content = screen.findViewById<View>(android.R.id.content)
        return views().filterIsInstance<ImageView>().filter { view ->
            view.drawable is BitmapDrawable &&
                generateSequence(view.parent) { it.parent }.any { it === content }
        }
    }

    /** The screen's texts, those that are not shown too. */
    fun allTexts(): List<TextView> {
        val found = ArrayList<TextView>()
        fun walk(view: View) {
            if (view is TextView) found.add(view)
            if (view is ViewGroup) for (index in 0 until view.childCount) walk(view.getChildAt(index))
        }
        walk(screen.findViewById(android.R.id.content))
        return found
    }

    fun texts(): List<String> =
        views().filterIsInstance<TextView>().map { it.text.toString() }.filter { it.isNotEmpty() }

    fun sees(text: String): Boolean = Pseudo.part(spoken(text)).let { said -> texts().any { it.contains(said) } }

    fun toast(): String? = ShadowToast.getTextOfLatestToast()

    fun seesPicture() = pictures().isNotEmpty()

    /** Whether no picture is shown, nor comes: one on its way is waited for. */
    fun staysWithoutPicture(): Boolean {
        drain()
        comes { !app.draft.told.now.isComing }
        drain()
        return !seesPicture()
    }

    /** The middle colours of the shown pictures. */
    fun pictureColours(): List<Int> = pictures().map { view ->
        val bitmap = (view.drawable as BitmapDrawable).bitmap
        bitmap.getPixel(bitmap.width / 2, bitmap.height / 2)
    }

    fun seesColour(colour: Int) = pictureColours().any { OtherApps.isLike(it, colour) }

    /** Choose a picture of one colour and wait for it. */
    fun chooseColour(colour: Int): Phone {
        choose(OtherApps.picture(OtherApps.jpeg(colour)))
        return waitFor("the picture is to be shown") { seesColour(colour) }
    }

    fun waitFor(what: String, seconds: Int = 10, condition: () -> Boolean): Phone {
        if (!comes(seconds, condition)) {
            fail("$what: not within $seconds s. The screen says: ${texts()}; the last message: ${toast()}")
        }
        return this
    }

    /** Whether [condition] comes true in time; the looper runs meanwhile. */
    fun comes(seconds: Int = 10, condition: () -> Boolean): Boolean {
        val end = System.nanoTime() + seconds * 1_000_000_000L
        while (System.nanoTime() < end) {
            idle()
            if (condition()) return true
            Thread.sleep(5)
        }
        return false
    }

    fun waitUntilSeen(text: String): Phone = waitFor("\"$text\" is to be seen") { sees(text) }

    /** The thread of the screens is busy with something else until [condition], which looks at no state of theirs. */
    fun beBusyUntil(condition: () -> Boolean): Phone {
        val end = System.nanoTime() + 60_000_000_000L
        while (!condition() && System.nanoTime() < end) Thread.sleep(5)
        assertTrue("what the screens wait for does not end", condition())
        return this
    }

    /** Until an import has begun to copy. */
    fun waitForCopy(): Phone = waitFor("it is to copy") { app.imports.told.now.share > 0 }

    val isBusy get() = app.chat.told.now.isBusy || app.imports.told.now.isBusy || app.measurements.told.now.isBusy

    /** Until nothing is being done, seen from inside: for tests whose subject is the screen itself. */
    fun settle(seconds: Int = 20): Phone = waitFor("the work is to end", seconds) { !isBusy }.also { drain() }

    /** Until the tasks of records and lists that were given have run. */
    fun drain() {
        repeat(2) {
            val done = CountDownLatch(2)
            app.folders.execute { done.countDown() }
            app.records.execute { done.countDown() }
            val end = System.nanoTime() + 10_000_000_000L
            while (done.count > 0 && System.nanoTime() < end) Thread.sleep(2)
            idle()
        }
    }

    fun keepsScreenOn() = views().any { it.keepScreenOn } ||
        screen.window.attributes.flags and WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON != 0

    /** Lay the screen out and draw it. */
    fun draw(): Bitmap {
        idle()
        val view = screen.window.decorView
        val bitmap = Bitmap.createBitmap(maxOf(1, view.width), maxOf(1, view.height), Bitmap.Config.ARGB_8888)
        view.draw(Canvas(bitmap))
        return bitmap
    }

    val list: ListView get() = screen.findViewById(R.id.turns)

    /** Which row stands at the top of the chat, and how far it reaches beyond it. */
    fun place(): Pair<Int, Int> = list.firstVisiblePosition to list.getChildAt(0).top
}

/** Make a bundle so large that hashing it takes a while. */
internal fun MadeBundle.tooLarge(mebibytes: Int = 256) {
    val file = file("vision_encoder.onnx")
    RandomAccessFile(file, "rw").use { it.setLength(mebibytes.toLong() shl 20) }
    entry("vision_encoder.onnx")["bytes"] = file.length()
}

/** Android's context, but for the card. */
private class PhoneContext(base: Context, private val card: (File?) -> File?) : ContextWrapper(base) {
    override fun getExternalFilesDir(type: String?): File? = card(super.getExternalFilesDir(type))
}
