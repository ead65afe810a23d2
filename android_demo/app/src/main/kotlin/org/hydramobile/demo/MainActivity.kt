/*
 * The chat: pictures, questions, answers as they come.
 *
 * Holds nothing that a turn of the phone or the end of the process may not take: see `DemoApplication`.
 */
package org.hydramobile.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.ClipData
import android.content.ClipboardManager
import android.content.Context
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.os.SystemClock
import android.view.KeyEvent
import android.view.View
import android.view.inputmethod.EditorInfo
import android.widget.EditText
import android.widget.ImageButton
import android.widget.ListView
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toolbar
import org.hydramobile.screens.ChatState
import org.hydramobile.screens.DraftState
import org.hydramobile.screens.ImportState
import org.hydramobile.screens.Listener
import org.hydramobile.screens.ModelsState
import org.hydramobile.screens.Problem
import org.hydramobile.screens.ProblemException
import org.hydramobile.screens.Turn

class MainActivity :
    Activity(),
    TurnActions {
    private val question by lazy { findViewById<EditText>(R.id.question) }
    private val send by lazy { findViewById<ImageButton>(R.id.send) }
    private val list by lazy { findViewById<ListView>(R.id.turns) }
    private val others by lazy { ForeignApps(this) }
    private val rows by lazy { TurnRows(this, demo.thumbnails, this, unfolded) }
    private val unfolded = HashSet<String>()

    private val chatListener = Listener<ChatState> { showChat(it) }
    private val draftListener = Listener<DraftState> { showDraft(it) }
    private val modelsListener = Listener<ModelsState> { showModels(it) }

    // Of the model that came with the app, at its first start.
    private val unpackListener = Listener<ImportState> { showModels(demo.models.told.now) }

    private val forgetting by lazy {
        Asking(this, "forgetting", R.string.forget, { _ ->
            AlertDialog.Builder(this).setTitle(R.string.clear_title).setMessage(R.string.clear_about)
        }) { demo.chat.clear() }
    }

    /** Where the reader was, until the list is there again: turn, whether its answer, distance from the top. */
    private var place: Triple<String, Boolean, Int>? = null
    private var isDraftShown = false
    private var toldProblem: Problem? = null
    private var sentAt = 0L

    /** The picture that was asked for last. */
    private var coming: Uri? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.chat)
        savedInstanceState?.getStringArrayList(OPEN)?.let { unfolded.addAll(it) }
        savedInstanceState?.getString(PLACE)?.let {
            place = Triple(it, savedInstanceState.getBoolean(PLACE_ANSWER), savedInstanceState.getInt(PLACE_TOP))
        }
        findViewById<Toolbar>(R.id.bar).run {
            inflateMenu(R.menu.chat)
            setOnMenuItemClickListener { item -> true.also { if (item.itemId == R.id.new_chat) newChat() else more() } }
        }
        list.adapter = rows
        findViewById<View>(R.id.model_switch).setOnClickListener { switchModel() }
        findViewById<View>(R.id.add_first_model).setOnClickListener { start(ModelsActivity::class.java) }
        findViewById<View>(R.id.add_picture).setOnClickListener { addPicture() }
        findViewById<View>(R.id.remove_picture).setOnClickListener { demo.draft.remove() }
        findViewById<View>(R.id.give_up_picture).setOnClickListener { demo.draft.giveUp() }
        for (id in intArrayOf(R.id.suggest_describe, R.id.suggest_read, R.id.suggest_count)) {
            findViewById<TextView>(id).setOnClickListener { suggest((it as TextView).text.toString()) }
        }
        send.setOnClickListener { if (demo.chat.told.now.isBusy) stop() else ask() }
        // Its text may be larger than what the system keeps: the draft has it.
        question.isSaveEnabled = false
        // Lines are broken on this thread: one word of 600,000 letters would hold it up for minutes.
        question.filters += Longest(LONGEST) { tell(getString(R.string.question_cut, LONGEST)) }
        question.addTextChangedListener(After { typed(it) })
        question.setOnEditorActionListener { _, action, _ ->
            (action == EditorInfo.IME_ACTION_SEND).also { if (it) ask() }
        }
        question.setOnKeyListener { _, key, event ->
            val isEnter = key == KeyEvent.KEYCODE_ENTER && !event.isShiftPressed
            if (isEnter && event.action == KeyEvent.ACTION_DOWN) ask()
            isEnter
        }
        forgetting.restore(savedInstanceState)
        // As long as it lives: another app's answer comes before the screen is seen again.
        demo.draft.told.listen(draftListener)
        val isAgain = intent.flags and Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY != 0
        // From the list of recent apps Android gives what was taken before once more.
        if (savedInstanceState != null) {
            takeAgain(savedInstanceState)
        } else if (!isAgain) {
            take(intent)
        }
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        setIntent(intent)
        take(intent)
    }

    override fun onStart() {
        super.onStart()
        demo.models.refresh()
        demo.models.told.listen(modelsListener)
        demo.imports.told.listen(unpackListener)
        demo.chat.told.listen(chatListener)
    }

    override fun onResume() {
        super.onResume()
        others.isWaited = false
    }

    override fun onStop() {
        demo.models.told.leave(modelsListener)
        demo.imports.told.leave(unpackListener)
        demo.chat.told.leave(chatListener)
        demo.draft.keep()
        super.onStop()
    }

    override fun onDestroy() {
        demo.draft.told.leave(draftListener)
        forgetting.close()
        super.onDestroy()
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putStringArrayList(OPEN, ArrayList(unfolded))
        forgetting.save(state)
        if (demo.draft.told.now.isComing) coming?.let { state.putString(COMING, it.toString()) }
        state.putString(PROCESS, demo.process)
        val first = list.firstVisiblePosition
        val turn = rows.turnAt(first)
        if (turn == null || isAtEnd()) return
        state.putString(PLACE, turn.id)
        state.putBoolean(PLACE_ANSWER, first % 2 == 1)
        state.putInt(PLACE_TOP, (list.getChildAt(0)?.top ?: 0) - list.paddingTop)
    }

    /** What another app hands over: a picture to ask about, or a bundle's zip. */
    private fun take(intent: Intent) {
        when (intent.action) {
            Intent.ACTION_SEND -> {
                val pictures = others.shared(intent)
                if (pictures.size > 1) tell(getString(R.string.first_picture))
                if (pictures.isEmpty()) tell(getString(R.string.no_picture_given)) else picture(pictures[0])
            }

            Intent.ACTION_VIEW -> intent.data?.let { uri ->
                others.import(uri)
                start(ModelsActivity::class.java)
            }
        }
    }

    /** A picture that was on its way when the process ended; this screen may still read it. */
    private fun takeAgain(state: Bundle) {
        val uri = state.getString(COMING)?.let { Uri.parse(it) } ?: return
        if (state.getString(PROCESS) == demo.process) coming = uri else picture(uri)
    }

    // What is asked.

    private fun ask() {
        val text = question.text.toString().trim()
        val model = demo.models.told.now.used ?: return
        val draft = demo.draft.told.now
        if (text.isEmpty() || draft.isComing || demo.chat.told.now.isBusy) return
        sentAt = SystemClock.uptimeMillis()
        place = null
        if (demo.chat.ask(model, demo.settings, text, draft.picture)) {
            question.text.clear()
            demo.draft.keep()
            toEnd()
        }
    }

    private fun stop() {
        // The second tap of a double tap on the button that was "Send" is no wish to stop.
        if (SystemClock.uptimeMillis() - sentAt > DOUBLE_TAP_MILLISECONDS) demo.chat.stop()
    }

    private fun suggest(text: String) {
        question.setText(text)
        question.setSelection(text.length)
        if (demo.draft.told.now.picture != null) ask() else question.requestFocus()
    }

    private fun typed(text: String) {
        demo.draft.type(text)
        showSend()
    }

    // Pictures.

    private fun addPicture() {
        popUp(
            findViewById(R.id.composer),
            listOf(
                MenuRow(R.drawable.ic_picture, getString(R.string.from_gallery)) { others.choose(CHOOSE) },
                MenuRow(R.drawable.ic_camera, getString(R.string.from_camera)) { others.photograph(TAKE) },
            ),
            PICTURE_MENU,
        )
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        others.isWaited = false
        if (resultCode != RESULT_OK) return
        if (requestCode == TAKE) {
            val app = demo
            coming = null
            app.draft.take { PhotoProvider.taken(app) }
        } else {
            val uri = others.chosen(data)
            if (uri == null) tell(getString(R.string.no_picture_given)) else picture(uri)
        }
    }

    private fun picture(uri: Uri) {
        coming = uri
        val resolver = applicationContext.contentResolver
        demo.draft.take { resolver.openInputStream(uri) ?: throw ProblemException(Problem(Problem.PICTURE_NONE)) }
    }

    // What is shown.

    private fun showChat(state: ChatState) {
        val wasAtEnd = isAtEnd()
        if (rows.show(state)) {
            if (place != null && state.isRead) {
                restorePlace()
            } else if (wasAtEnd) {
                toEnd()
            }
        } else if (state.isBusy) {
            for (index in 0 until list.childCount) rows.working(list.getChildAt(index))
            if (wasAtEnd) toEnd()
        }
        window.decorView.keepScreenOn = state.isBusy
        showSend()
        showModels(demo.models.told.now)
        if (state.problem != null && state.problem !== toldProblem) state.problem?.let { tell(worded(it)) }
        toldProblem = state.problem
    }

    private fun showDraft(state: DraftState) {
        if (state.isRead && !isDraftShown) {
            isDraftShown = true
            if (question.text.isEmpty() && state.text.isNotEmpty()) {
                question.setText(state.text)
                question.setSelection(question.text.length)
            }
        }
        findViewById<View>(R.id.picked).isShownHere = state.picture != null
        demo.thumbnails.show(findViewById(R.id.picked_thumbnail), state.picture)
        findViewById<View>(R.id.coming_picture).isShownHere = state.isComing
        showSend()
        state.problem?.let {
            tell(worded(it))
            demo.draft.toldProblem()
        }
    }

    private fun showSend() {
        val live = demo.chat.told.now.live
        send.setImageResource(if (live != null) R.drawable.ic_stop else R.drawable.ic_send)
        send.contentDescription = getString(if (live != null) R.string.stop else R.string.send)
        send.isEnabled = if (live != null) {
            !live.isStopping
        } else {
            question.text.isNotBlank() && !demo.draft.told.now.isComing && demo.models.told.now.used != null
        }
    }

    private fun showModels(state: ModelsState) {
        val used = state.used
        val isEmpty = demo.chat.told.now.turns.isEmpty()
        val isWithout = state.isRead && used == null
        findViewById<TextView>(R.id.model_name).text = used?.asked?.name
            ?: if (isWithout) getString(R.string.no_model_title) else ""
        val kind = used?.let { kindOf(it.asked) }
        findViewById<TextView>(R.id.model_preset).text = kind
            ?: if (isWithout) getString(R.string.no_model_about) else ""
        findViewById<View>(R.id.model_switch).contentDescription =
            if (used == null || kind == null) null else getString(R.string.switch_from, used.asked.name, kind)
        findViewById<View>(R.id.model_chevron).isShownHere = used != null
        findViewById<View>(R.id.no_model).isShownHere = isWithout && isEmpty
        findViewById<View>(R.id.empty).isShownHere = used != null && isEmpty && demo.chat.told.now.isRead
        showSend()
        findViewById<Toolbar>(R.id.bar).menu.findItem(R.id.new_chat).isVisible = !isEmpty
        showUnpacking(demo.imports.told.now)
    }

    private fun showUnpacking(state: ImportState) {
        val isUnpacking = state.isBusy && state.isUnpacking
        val problem = state.problem
        findViewById<View>(R.id.unpacking).isShownHere = isUnpacking || problem != null
        findViewById<View>(R.id.add_first_model).isShownHere = !isUnpacking
        findViewById<TextView>(R.id.unpacking_text).run {
            val now = if (problem != null) worded(problem) else getString(R.string.unpacking)
            if (text.toString() != now) text = now
        }
        findViewById<ProgressBar>(R.id.unpacking_bar).run {
            isShownHere = isUnpacking
            progress = (100 * state.share).toInt()
        }
    }

    // Where the reader is.

    private fun isAtEnd(): Boolean {
        val last = list.getChildAt(list.childCount - 1) ?: return true
        val isLast = list.lastVisiblePosition >= list.count - 1
        return isLast && last.bottom <= list.height - list.paddingBottom + dp(NEAR)
    }

    private fun toEnd() {
        if (rows.count == 0) return
        // As far down as it goes, however high the last row is.
        list.setSelectionFromTop(rows.count - 1, -FAR)
    }

    private fun restorePlace() {
        val (id, isAnswer, top) = place ?: return
        val at = (0 until rows.count).firstOrNull { rows.turnAt(it)?.id == id } ?: return
        // Before its first layout the list does not know its own padding.
        val padding = if (list.isLaidOut) 0 else list.paddingTop
        list.setSelectionFromTop(at + if (isAnswer) 1 else 0, top + padding)
        place = null
    }

    // Menus and other screens.

    private fun switchModel() {
        val state = demo.models.told.now
        if (state.used == null) {
            start(ModelsActivity::class.java)
            return
        }
        val models = state.models.filter { it.problem == null }.map { model ->
            val asked = org.hydramobile.screens.ModelList.choiceOf(model).asked
            val isUsed = model.name == state.used?.asked?.name
            MenuRow(R.drawable.ic_chip, model.name, kindOf(asked), isUsed) { demo.models.use(model.name) }
        }
        val add = MenuRow(R.drawable.ic_plus, getString(R.string.add_model)) { start(ModelsActivity::class.java) }
        popUp(findViewById(R.id.model_switch), models + add, MODEL_MENU)
    }

    private fun more() {
        popUp(
            findViewById(R.id.more) ?: findViewById(R.id.bar),
            listOf(
                MenuRow(R.drawable.ic_chip, getString(R.string.models)) { start(ModelsActivity::class.java) },
                MenuRow(R.drawable.ic_gear, getString(R.string.settings)) { start(SettingsActivity::class.java) },
                MenuRow(R.drawable.ic_gauge, getString(R.string.speed)) { start(SpeedActivity::class.java) },
                MenuRow(R.drawable.ic_info, getString(R.string.about)) { start(AboutActivity::class.java) },
            ),
            MORE_MENU,
            atEnd = true,
        )
    }

    private fun newChat() = forgetting.ask("")

    private fun start(screen: Class<out Activity>) =
        startActivity(Intent(this, screen).addFlags(Intent.FLAG_ACTIVITY_SINGLE_TOP))

    override fun copy(turn: Turn) {
        val board = getSystemService(Context.CLIPBOARD_SERVICE) as ClipboardManager
        board.setPrimaryClip(ClipData.newPlainText(turn.question, turn.answer))
        tell(getString(R.string.copied))
    }

    override fun share(turn: Turn) = others.share("text/plain", turn.answer)

    override fun again(turn: Turn) {
        val model = demo.models.told.now.used ?: return
        sentAt = SystemClock.uptimeMillis()
        if (demo.chat.again(turn, model, demo.settings)) toEnd()
    }

    override fun delete(turn: Turn) = demo.chat.delete(turn)

    override fun unfold(change: () -> Unit) {
        val wasAtEnd = isAtEnd()
        change()
        if (wasAtEnd) toEnd()
    }

    override fun more(turn: Turn, anchor: View) {
        popUp(
            anchor,
            listOf(
                MenuRow(R.drawable.ic_copy, getString(R.string.copy)) { copy(turn) },
                MenuRow(R.drawable.ic_text, getString(R.string.select_text)) { selectText(turn) },
                MenuRow(R.drawable.ic_share, getString(R.string.share)) { share(turn) },
                MenuRow(R.drawable.ic_retry, getString(R.string.ask_again)) { again(turn) },
                MenuRow(R.drawable.ic_trash, getString(R.string.delete)) { delete(turn) },
            ),
            MORE_MENU,
        )
    }

    /** In a window of its own: a list takes the long press that begins a selection. */
    private fun selectText(turn: Turn) {
        val dialog = AlertDialog.Builder(this).setMessage(turn.answer).setPositiveButton(R.string.done, null).show()
        dialog.alignMessage()
        dialog.findViewById<TextView>(android.R.id.message)?.setTextIsSelectable(true)
    }

    private companion object {
        const val CHOOSE = 1
        const val TAKE = 2
        const val OPEN = "open"
        const val COMING = "coming"
        const val PROCESS = "process"
        const val PLACE = "place"
        const val PLACE_ANSWER = "place_answer"
        const val PLACE_TOP = "place_top"

        /** Characters of a question; ten times what the contexts of small models hold. */
        const val LONGEST = 32_768
        const val DOUBLE_TAP_MILLISECONDS = 600

        /** dp from the end that count as the end. */
        const val NEAR = 48

        /** Pixels; more than any row has. */
        const val FAR = 1_000_000

        // Widths, in dp.
        const val PICTURE_MENU = 240
        const val MODEL_MENU = 280
        const val MORE_MENU = 220
    }
}
