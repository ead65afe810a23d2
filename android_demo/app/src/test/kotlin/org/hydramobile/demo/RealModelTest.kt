package org.hydramobile.demo

import android.content.Intent
import android.os.Build
import org.hydramobile.core.DeviceLimits
import org.hydramobile.core.Json
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Test
import org.robolectric.annotation.Config
import java.io.File
import kotlin.concurrent.thread

/** The app with its own runtimes, as the APK has it. */
open class RealApp : TestApp() {
    override val runtimes get() = RUNTIMES
    override val phone: PhoneFacts by lazy {
        val real = super.phone
        object : PhoneFacts by real {
            // This machine's processor, which Robolectric does not tell.
            override fun limits(isCopied: Boolean): DeviceLimits = real.limits(isCopied).run {
                DeviceLimits(availableBytes, totalBytes, listOf("x86_64"), Build.VERSION.SDK_INT, freeDiskBytes)
            }
        }
    }
}

/**
 * From the tap to the text, on real runtimes.
 *
 * The property `hydra.real` names a folder: bundles by runtime, `picture.png`, `expected.json` with the question and the
 * text of each runtime, and perhaps `requests/`. Skipped without.
 */
@Config(application = RealApp::class)
class RealModelTest : PhoneTest() {
    private val folder: File by lazy {
        val name = System.getProperty("hydra.real")
        assumeTrue("-Dhydra.real=FOLDER is not set", name != null)
        File(name!!)
    }
    private val expected by lazy { Json.parseObject(File(folder, "expected.json").readText(), "expected.json") }
    private val picture by lazy { OtherApps.picture(File(folder, "picture.png").readBytes()) }

    private fun install(runtime: String): File {
        val target = File(phone.models, "real")
        File(folder, runtime).copyRecursively(target, overwrite = true)
        return target
    }

    private fun answers(runtime: String) {
        phone.askWhenReady(expected.string("question")).settle(120)
        val text = expected.string(runtime)
        assertTrue("expected \"$text\", the screen says ${phone.texts()}", phone.texts().any { it == text })
    }

    private fun shared(runtime: String) {
        install(runtime)
        val intent = Intent(Intent.ACTION_SEND).setType("image/png").putExtra(Intent.EXTRA_STREAM, picture)
        phone.open(intent = intent).waitFor("the picture is to be shown") { phone.seesPicture() }
        answers(runtime)
    }

    private fun picked(runtime: String) {
        install(runtime)
        phone.open().choose(picture).waitFor("the picture is to be shown") { phone.seesPicture() }
        answers(runtime)
    }

    @Test
    fun aSharedPictureIsAnsweredByOnnxRuntime() = shared("onnx")

    @Test
    fun aPickedPictureIsAnsweredByOnnxRuntime() = picked("onnx")

    @Test
    fun aSharedPictureIsAnsweredByExecuTorch() = shared("executorch")

    @Test
    fun aPickedPictureIsAnsweredByExecuTorch() = picked("executorch")

    /** The property `hydra.kill`, `RUNTIME:LINES`, ends this process as soon as the answers have so many lines. */
    private fun killed(runtime: String, answers: File) {
        val (which, lines) = System.getProperty("hydra.kill")?.split(':') ?: return
        if (which != runtime) return
        thread(isDaemon = true) {
            while (!answers.isFile || answers.readLines().size < lines.toInt()) Thread.sleep(1)
            Runtime.getRuntime().halt(KILLED)
        }
    }

    private fun ends(answers: File) = if (answers.isFile) answers.readLines().count { "\"end\"" in it } else 0

    @Test
    fun aBatchIsAnsweredByTheIntentThatAHostSends() {
        val requests = File(folder, "requests")
        assumeTrue("no requests", requests.isDirectory)
        for (runtime in listOf("onnx", "executorch")) {
            val bundle = install(runtime)
            val answers = File(folder, "answers-$runtime.jsonl")
            val intent = Intent().putExtra("requests", File(requests, "requests.jsonl").path)
                .putExtra("answers", answers.path).putExtra("bundle", bundle.path).putExtra("threads", 1)
            val before = ends(answers)
            killed(runtime, answers)
            phone.open(Screen.BATCH, intent)
            phone.waitFor("the batch is to end", 300) { ends(answers) > before }
            assertTrue(answers.readLines().last(), "\"answered\"" in answers.readLines().last())
            phone.back()
            bundle.deleteRecursively()
        }
    }

    private companion object {
        /** What a shell says of a program that was killed. */
        const val KILLED = 137
    }
}
