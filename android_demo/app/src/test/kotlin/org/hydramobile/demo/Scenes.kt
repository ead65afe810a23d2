/*
 * The app's screens in their states, each brought about as a person would, on a fake model; for checks and pictures.
 */
package org.hydramobile.demo

import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.LinearGradient
import android.graphics.Paint
import android.graphics.Path
import android.graphics.Shader
import android.os.Build
import org.hydramobile.core.GenerationException
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.Json
import org.hydramobile.screens.AskedModel
import org.hydramobile.screens.Facts
import org.hydramobile.screens.Measurement
import org.hydramobile.screens.Problem
import org.hydramobile.screens.Turn
import org.hydramobile.screens.TurnEnd
import java.io.ByteArrayOutputStream
import java.io.File
import java.text.DateFormatSymbols
import java.util.Locale

/** A state by its name; [show] brings it about. */
class Scene(val name: String, val show: Phone.() -> Unit)

/** All of them. */
object Scenes {
    private const val QUESTION = "What is in this picture?"
    private const val ANSWER = "Three red boats with white sails on calm water, in front of mountains. The sun is low."
    private const val SOME = 0.1
    private const val HOW_MANY = "How many of them are in front of the mountains?"
    private const val PICKED = "Which boat is nearest, and what color are its sails?"
    private const val SEASON = "Late summer: the light is warm and there is no snow on the mountains."
    private const val FIRST_DAY = 1_795_000_000_000L
    private const val TWO_HOURS = 7_200_000L

    /** Milliseconds; a speed that is shown is to look like a phone's. */
    private const val TOKEN = 25L
    private val MODEL = AskedModel("smol", "int4", "onnx")
    private val FACTS = Facts(1.21, 0.82, 0.36, 14.3, 412L shl 20)

    /** [text] without what is no word of the app: names of models, runtimes, this phone and months. */
    fun withoutData(text: String): String = DATA.fold(text) { left, data -> left.replace(data, "") }

    private val DATA by lazy {
        val names = listOf("smol-emoji", "smol-read", "mid-caption", "smol", "onnx", "executorch")
        val dates = DateFormatSymbols(Locale.ENGLISH).run { months.toList() + shortMonths + amPmStrings }
        (names + Build.MANUFACTURER + Build.MODEL + dates).filter { it.isNotEmpty() }
    }

    val ALL = listOf(
        Scene("chat-no-model") { open() },
        Scene("chat-empty") { ready() },
        Scene("chat-picked") { ready().pickHarbor().type(PICKED) },
        Scene("chat-coming") { ready().choose(OtherApps.slowPicture()) },
        Scene("chat-loading") {
            ready().pickHarbor()
            Model.loading.close()
            ask(QUESTION).waitUntilSeen("Loading the model")
        },
        Scene("chat-answering") {
            ready().pickHarbor()
            Model.says("Three red boats with white sails on calm water, in front of mountains", skips = 1)
            Model.onDecode = { Thread.sleep(TOKEN) }
            Model.decoding.close(letting = 42)
            ask(QUESTION).waitUntilSeen("Three red boats with white")
        },
        Scene("chat-stopping") {
            ready()
            Model.onDecode = { Thread.sleep(TOKEN) }
            Model.decoding.close(letting = 5)
            ask(QUESTION).waitFor("it is to answer") { Model.decoding.reached }.tap(Words.STOP)
        },
        Scene("chat-answered") { conversation() },
        Scene("chat-facts") {
            conversation()
            unfold()
        },
        Scene("chat-failed") {
            ready().pickHarbor()
            Model.onLoad = { throw GenerationException(GenerationProblem.CANNOT_LOAD, "the file cannot be mapped") }
            ask(QUESTION).settle()
        },
        Scene("chat-menu") { conversation().moreMenu() },
        Scene("chat-picture-menu") { ready().tap("Add a picture") },
        Scene("chat-model-menu") {
            addModel("smol-emoji")
            ready().tap("Switch the model")
        },
        Scene("chat-answer-menu") { conversation().answerMenu() },
        Scene("chat-forget") { conversation().askToClear() },
        Scene("models-none") { open(Screen.MODELS) },
        Scene("models") { modelsOf().open(Screen.MODELS) },
        Scene("models-import") {
            modelsOf().open(Screen.MODELS)
            val other = FolderApp().also { it.root = bundleElsewhere().folder }
            other.title = "smol-read"
            other.onOpen = { if ("decoder" in it) OtherApps.stall() }
            chooseFolder(OtherApps.folder(other)).waitFor("it is to be copied") { app.imports.told.now.share > SOME }
        },
        Scene("models-failed") {
            modelsOf().open(Screen.MODELS)
            chooseFolder(OtherApps.folder(FolderApp().also { it.answersNothing = true })).settle()
        },
        Scene("models-add-menu") { modelsOf().open(Screen.MODELS).tap(Words.IMPORT) },
        Scene("models-delete") { modelsOf().open(Screen.MODELS).run { tap(deleteButton("mid-caption")) } },
        Scene("settings") { open(Screen.SETTINGS) },
        Scene("settings-reset") {
            open(Screen.SETTINGS)
            screen.findViewById<android.view.View>(R.id.reset).performClick()
            idle()
        },
        Scene("speed-none") {
            addModel("smol")
            open(Screen.SPEED)
        },
        Scene("speed-measuring") {
            measured()
            Model.decoding.close(letting = 60)
            tap(Words.MEASURE).waitFor("it is to measure") { Model.decoding.reached }
        },
        Scene("speed") { measured() },
        Scene("about") { open(Screen.ABOUT) },
        Scene("batch") {
            val made = addModel("smol")
            val requests = File(app.filesDir, "requests.jsonl")
            val rest = """"question": "What is this?", "max_new_tokens": 4}"""
            requests.writeText((0 until 12).joinToString("") { "{\"id\": \"$it\", $rest\n" })
            Model.decoding.close(letting = 14)
            val intent = Intent().putExtra("requests", requests.path)
                .putExtra("answers", File(app.filesDir, "answers.jsonl").path).putExtra("bundle", made.folder.path)
            open(Screen.BATCH, intent).waitFor("it is to answer") { Model.decoding.reached }
        },
    )

    private fun Phone.ready(): Phone {
        addModel("smol")
        return open().waitFor("a model is to be there") { app.models.told.now.used != null }
    }

    private fun Phone.pickHarbor(): Phone {
        choose(OtherApps.picture(harbor()))
        return waitFor("the picture is to be shown") { seesPicture() }
    }

    private fun Phone.conversation(): Phone {
        addModel("smol")
        val taken = GenerationException(GenerationProblem.RUNTIME_FAILED, "the library reports code 3")
        val turns = listOf(
            Turn("1", QUESTION, "harbor", MODEL, 1, ANSWER, FACTS, end = TurnEnd.ANSWERED),
            Turn("2", HOW_MANY, "harbor", MODEL, 2, end = TurnEnd.FAILED, problem = Problem.of(taken)),
            Turn("3", "Which season could it be?", "harbor", MODEL, 3, SEASON, FACTS, end = TurnEnd.ANSWERED),
        )
        record("conversation.jsonl", turns.map { it.line() })
        // After the record that names it: what nothing names is deleted.
        File(app.filesDir, "pictures/harbor").also { it.parentFile!!.mkdirs() }.writeBytes(harbor())
        open()
        waitFor("the last answer is to be shown") { sees("Late summer") }
        // With large letters the picture is further up.
        comes(2) { seesPicture() }
        return this
    }

    private fun Phone.unfold() {
        views().last { it.id == R.id.turn_facts }.performClick()
        idle()
        draw()
    }

    private fun Phone.answerMenu(): Phone {
        views().last { it.id == R.id.turn_answer }.performLongClick()
        idle()
        return this
    }

    private fun Phone.moreMenu(): Phone {
        screen.findViewById<android.view.View>(R.id.more).performClick()
        idle()
        return this
    }

    private fun Phone.modelsOf(): Phone {
        addModel("smol")
        addModel("smol-emoji") { it.manifest["runtime"] = "onnx" }
        addModel("mid-caption") { it.manifest["runtime"] = "later" }
        return this
    }

    private fun Phone.measured(): Phone {
        addModel("smol")
        val made = { at: Int, rate: Double ->
            Json.write(
                Measurement(
                    "$at", MODEL, FIRST_DAY + at * TWO_HOURS, "0".repeat(64), 98L shl 20, 4, 0.6, 412L shl 20, 64,
                    List(5) { 0.8 }, List(5) { 50.0 }, List(5) { 1.2 + at / 50.0 }, List(5) { rate }, listOf(0, 1),
                ).json(),
            )
        }
        record("speed.jsonl", listOf(made(1, 14.1), made(2, 13.8), made(3, 14.3)))
        return open(Screen.SPEED)
    }

    /** A made picture: a harbor at evening. */
    fun harbor(): ByteArray {
        val (wide, high) = 640f to 480f
        val bitmap = Bitmap.createBitmap(wide.toInt(), high.toInt(), Bitmap.Config.ARGB_8888)
        val canvas = Canvas(bitmap)
        val paint = Paint(Paint.ANTI_ALIAS_FLAG)
        paint.shader = LinearGradient(0f, 0f, 0f, 300f, 0xFF6FA8C9.toInt(), 0xFFF6D9B0.toInt(), Shader.TileMode.CLAMP)
        canvas.drawRect(0f, 0f, wide, high, paint)
        paint.shader = null
        paint.color = 0xFFF7EBCB.toInt()
        canvas.drawCircle(460f, 190f, 42f, paint)
        fun shape(color: Long, vararg points: Float) {
            paint.color = color.toInt()
            val path = Path()
            path.moveTo(points[0], points[1])
            for (at in 2 until points.size step 2) path.lineTo(points[at], points[at + 1])
            path.close()
            canvas.drawPath(path, paint)
        }
        shape(0xFF5D7F8C, 0f, 298f, 115f, 211f, 218f, 269f, 320f, 192f, 460f, 298f)
        shape(0xFF2F6C80, 0f, 298f, wide, 298f, wide, high, 0f, high)
        for ((x, size) in listOf(140f to 60f, 350f to 42f, 512f to 51f)) {
            shape(
                0xFFB4472F, x - size, 345f, x + size, 345f, x + 0.6f * size, 345f + 0.6f * size, x - 0.6f * size,
                345f + 0.6f * size,
            )
            shape(0xFFFDF8EE, x, 336f - 2.2f * size, x, 336f, x + 0.8f * size, 336f)
        }
        return ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.PNG, 90, it) }.toByteArray()
    }
}
