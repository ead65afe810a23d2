/*
 * The answer screen: a picture, a question, the answer as it comes.
 *
 * Holds nothing that a turn of the phone or the end of the process may not take: see `DemoApplication`.
 */
package org.hydramobile.demo

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.ClipData
import android.content.Intent
import android.os.Bundle
import android.provider.MediaStore
import android.view.Menu
import android.view.MenuItem
import android.view.View
import android.view.inputmethod.EditorInfo
import android.widget.Button
import android.widget.EditText
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import android.widget.Toast
import org.hydramobile.screens.AskListener
import org.hydramobile.screens.AskState
import org.hydramobile.screens.ImportListener
import org.hydramobile.screens.Work
import java.io.IOException

class MainActivity : Activity() {
    private val question by lazy { findViewById<EditText>(R.id.question) }
    private val ask by lazy { findViewById<Button>(R.id.ask) }
    private val turns by lazy { findViewById<LinearLayout>(R.id.turns) }
    private val listener = AskListener { show(it) }

    // Of the model that came with the app, at its first start.
    private val unpacking = ImportListener { show(demo.asker.state) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        findViewById<Button>(R.id.choose).setOnClickListener { choose() }
        findViewById<Button>(R.id.take).setOnClickListener { take() }
        ask.setOnClickListener { if (demo.asker.state.isBusy) demo.asker.stop() else ask() }
        question.setOnEditorActionListener { _, action, _ ->
            (action == EditorInfo.IME_ACTION_SEND).also { if (it) ask() }
        }
        showPicture()
    }

    override fun onStart() {
        super.onStart()
        demo.asker.listener = listener
        demo.importer.listener = unpacking
    }

    override fun onStop() {
        demo.asker.listener = null
        // The next screen may listen already.
        if (demo.importer.listener === unpacking) demo.importer.listener = null
        super.onStop()
    }

    override fun onCreateOptionsMenu(menu: Menu): Boolean {
        menuInflater.inflate(R.menu.main, menu)
        return true
    }

    override fun onOptionsItemSelected(item: MenuItem): Boolean {
        when (item.itemId) {
            R.id.open_models -> startActivity(Intent(this, ModelsActivity::class.java))

            R.id.open_settings -> startActivity(Intent(this, SettingsActivity::class.java))

            R.id.open_speed -> startActivity(Intent(this, SpeedActivity::class.java))

            R.id.remove_picture -> {
                demo.picture.remove()
                showPicture()
            }

            R.id.clear -> {
                demo.conversation.clear()
                show(demo.asker.state)
            }

            else -> return super.onOptionsItemSelected(item)
        }
        return true
    }

    private fun ask() {
        val text = question.text.toString().trim()
        val folder = demo.model
        if (folder == null) {
            tell(getString(R.string.no_model))
        } else if (text.isNotEmpty() && !demo.asker.state.isBusy) {
            demo.asker.ask(folder, demo.settings, text, demo.picture.chosen())
            question.text.clear()
        }
    }

    private fun choose() {
        val intent = Intent(Intent.ACTION_GET_CONTENT).setType("image/*").addCategory(Intent.CATEGORY_OPENABLE)
        start(intent, CHOOSE, R.string.no_picker)
    }

    private fun take() {
        val uri = PhotoProvider.uriOf(this)
        PhotoProvider.fileOf(this).run {
            delete()
            createNewFile()
        }
        val intent = Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, uri)
        intent.clipData = ClipData.newRawUri("", uri)
        intent.addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION or Intent.FLAG_GRANT_READ_URI_PERMISSION)
        start(intent, TAKE, R.string.no_camera)
    }

    private fun start(intent: Intent, request: Int, otherwise: Int) = try {
        startActivityForResult(intent, request)
    } catch (_: ActivityNotFoundException) {
        tell(getString(otherwise))
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        if (resultCode != RESULT_OK) return
        val uri = data?.data
        demo.files.execute {
            val problem = try {
                if (requestCode == TAKE) {
                    PhotoProvider.fileOf(this).inputStream().use { demo.picture.take(it) }
                } else if (uri != null) {
                    demo.picture.take(contentResolver.openInputStream(uri) ?: throw IOException("it is gone."))
                }
                null
            } catch (error: IOException) {
                error.message
            } catch (error: SecurityException) {
                error.message
            }
            demo.screens.execute {
                if (problem != null) tell(getString(R.string.picture_unreadable, problem))
                showPicture()
            }
        }
    }

    private fun showPicture() {
        demo.files.execute {
            val bitmap = try {
                demo.picture.shown()
            } catch (_: IOException) {
                null
            }
            demo.screens.execute {
                val view = findViewById<ImageView>(R.id.picture)
                view.setImageBitmap(bitmap)
                view.visibility = if (bitmap == null) View.GONE else View.VISIBLE
                findViewById<View>(R.id.no_picture).visibility = if (bitmap == null) View.VISIBLE else View.GONE
            }
        }
    }

    private fun show(state: AskState) {
        showTurns()
        ask.setText(if (state.isBusy) R.string.stop else R.string.ask)
        shown(R.id.asked, state.question)
        shown(R.id.answer, state.answer)
        val status = when (state.work) {
            Work.NOTHING -> state.message ?: if (demo.model == null) withoutModel() else ""
            else -> state.facts.ifEmpty { progressText(state) }
        }
        val view = findViewById<TextView>(R.id.status)
        // A screen reader would read out every token's facts.
        val isSilent = state.work == Work.ANSWERING
        view.accessibilityLiveRegion =
            if (isSilent) View.ACCESSIBILITY_LIVE_REGION_NONE else View.ACCESSIBILITY_LIVE_REGION_POLITE
        view.text = status
        if (state.isBusy) scrollDown()
    }

    private fun withoutModel(): String {
        val unpacked = demo.importer.state
        return when {
            unpacked.isBusy -> getString(R.string.unpacking, (100 * unpacked.share).toInt())
            else -> unpacked.problem ?: getString(R.string.no_model)
        }
    }

    private fun showTurns() {
        val all = demo.conversation.turns
        if (turns.childCount > all.size) turns.removeAllViews()
        if (turns.childCount == all.size) return
        for (turn in all.drop(turns.childCount)) {
            val view = layoutInflater.inflate(R.layout.turn, turns, false)
            view.findViewById<TextView>(R.id.turn_question).text = turn.question
            view.findViewById<TextView>(R.id.turn_answer).text = turn.answer
            view.findViewById<TextView>(R.id.turn_facts).text = turn.facts
            turns.addView(view)
        }
        scrollDown()
    }

    private fun shown(id: Int, text: String) {
        val view = findViewById<TextView>(id)
        view.text = text
        view.visibility = if (text.isEmpty()) View.GONE else View.VISIBLE
    }

    private fun scrollDown() {
        val scroll = findViewById<ScrollView>(R.id.scroll)
        scroll.post { scroll.fullScroll(View.FOCUS_DOWN) }
        // Scrolling must not take the keyboard away.
        if (question.isFocused) scroll.post { question.requestFocus() }
    }

    private fun tell(text: String) = Toast.makeText(this, text, Toast.LENGTH_LONG).show()

    private companion object {
        const val CHOOSE = 1
        const val TAKE = 2
    }
}
