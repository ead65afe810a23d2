/*
 * What is going to be asked: the picture that is picked or on its way, and the text so far, kept for the next process.
 */
package org.hydramobile.screens

import org.hydramobile.core.Json
import org.hydramobile.core.JsonException
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.util.concurrent.Executor

/** [picture]: its id. [isComing]: another one is on its way. [problem]: of the last that came. */
class DraftState(
    val picture: String? = null,
    val isComing: Boolean = false,
    val problem: Problem? = null,
    val text: String = "",
    val isRead: Boolean = false,
)

/** In [file]. [worker]: gives each task a thread, for one may hang in another app. [files]: one task at a time. */
class Draft(
    private val file: File,
    private val pictures: PictureStore,
    private val worker: Executor,
    private val files: Executor,
    private val screens: Executor,
    private val onForgotten: () -> Unit = {},
) {
    private var coming = 0
    val told = Told(DraftState(), screens)

    fun read() = files.execute {
        pictures.tidy()
        val json = try {
            if (file.isFile) Json.parseObject(file.readText(), file.name) else null
        } catch (_: IOException) {
            null
        } catch (_: JsonException) {
            null
        }
        val picture = json?.text("picture")?.takeIf { pictures.file(it).isFile }
        val text = json?.text("text").orEmpty()
        screens.execute {
            told.now.run {
                told.set(DraftState(this.picture ?: picture, isComing, problem, this.text.ifEmpty { text }, true))
            }
            onForgotten()
        }
    }

    /** Take the picture that [stream] gives; the one before stays until it is there, and where it is none. */
    fun take(stream: () -> InputStream) {
        val own = ++coming
        told.now.run { told.set(DraftState(picture, true, null, text, isRead)) }
        worker.execute {
            val (id, problem) = try {
                pictures.take(stream()) to null
            } catch (error: ProblemException) {
                null to error.problem
            } catch (error: Throwable) {
                null to Problem(Problem.PICTURE_UNREADABLE, error.message ?: error.toString())
            }
            screens.execute { arrived(own, id, problem) }
        }
    }

    private fun arrived(own: Int, id: String?, problem: Problem?) {
        // Another was chosen meanwhile, or all were removed.
        if (own == coming) {
            told.now.run { told.set(DraftState(id ?: picture, false, problem, text, isRead)) }
            keep()
        }
        if (id != null) onForgotten()
    }

    /** The problem has been told. */
    fun toldProblem() = told.now.run { told.set(DraftState(picture, isComing, null, text, isRead)) }

    /** No picture, and none that is on its way. */
    fun remove() {
        coming++
        told.now.run { told.set(DraftState(null, false, null, text, isRead)) }
        keep()
        onForgotten()
    }

    /** Give up what is on its way; the one before stays. */
    fun giveUp() {
        coming++
        told.now.run { told.set(DraftState(picture, false, null, text, isRead)) }
    }

    /** The text as it is in the field. Told to nobody: the field has it. */
    fun type(text: String) {
        if (text == told.now.text) return
        told.now.run { told.set(DraftState(picture, isComing, problem, text, isRead)) }
    }

    /** Write it down, for the next process. */
    fun keep() {
        val now = told.now
        files.execute {
            try {
                val line = Json.write(mapOf("picture" to now.picture, "text" to now.text))
                val temporary = File("${file.path}.tmp")
                temporary.writeText(line)
                temporary.renameTo(file)
            } catch (_: IOException) {
                // A full disk: the draft lasts as long as the process.
            }
        }
    }
}
