/*
 * The rows of the chat: records in, views out. Rows that come and go are new views; words that stream are put into the
 * view that is there, so that nothing else on the screen moves or loses its focus.
 */
package org.hydramobile.demo

import android.content.Context
import android.os.Bundle
import android.view.Gravity
import android.view.View
import android.view.ViewGroup
import android.view.accessibility.AccessibilityNodeInfo
import android.view.accessibility.AccessibilityNodeInfo.AccessibilityAction
import android.widget.BaseAdapter
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import org.hydramobile.screens.ChatState
import org.hydramobile.screens.Live
import org.hydramobile.screens.Phase
import org.hydramobile.screens.Turn
import org.hydramobile.screens.TurnEnd

/** What can be done with a turn. */
internal interface TurnActions {
    fun copy(turn: Turn)

    fun share(turn: Turn)

    fun again(turn: Turn)

    fun delete(turn: Turn)

    fun more(turn: Turn, anchor: View)

    /** Facts are about to be shown or hidden by [change], below which there may be no room. */
    fun unfold(change: () -> Unit)
}

/** [open]: ids of the turns whose facts are unfolded. */
internal class TurnRows(
    private val context: Context,
    private val thumbnails: Thumbnails,
    private val actions: TurnActions,
    val open: MutableSet<String>,
) : BaseAdapter() {
    private enum class Kind { QUESTION, ANSWER, WORKING, FAILED }

    private class Row(val kind: Kind, val turn: Turn, val hasPicture: Boolean)

    private var rows = emptyList<Row>()
    private var live: Live? = null

    /** The turn that has just ended: a screen reader is told of its answer. */
    private var announced: String? = null
    private var newest: String? = null

    /** Show [state]; true: rows came or went, false: at most words in the last one changed. */
    fun show(state: ChatState): Boolean {
        val ended = live?.turn
        live = state.live
        val next = rowsOf(state.turns)
        val isSame = next.size == rows.size && next.indices.all { isSame(next[it], rows[it]) }
        if (isSame && ended == live?.turn) return false
        if (ended != null && live == null) announced = ended
        if (live != null) announced = null
        rows = next
        newest = state.turns.lastOrNull()?.id
        notifyDataSetChanged()
        return true
    }

    private fun isSame(one: Row, other: Row) = one.kind == other.kind && one.turn === other.turn

    private fun rowsOf(turns: List<Turn>): List<Row> {
        var picture: String? = null
        return turns.flatMap { turn ->
            // A question about the picture that stands above it does not show it again.
            val isOther = turn.picture != null && turn.picture != picture
            picture = turn.picture
            listOf(Row(Kind.QUESTION, turn, isOther), Row(kindOf(turn), turn, false))
        }
    }

    private fun kindOf(turn: Turn) = when (turn.end) {
        TurnEnd.RUNNING -> Kind.WORKING
        TurnEnd.FAILED, TurnEnd.INTERRUPTED -> Kind.FAILED
        else -> Kind.ANSWER
    }

    override fun getCount() = rows.size

    override fun getItem(position: Int) = rows[position].turn

    override fun getItemId(position: Int) =
        rows[position].run { 2L * turn.id.hashCode() + if (kind == Kind.QUESTION) 0 else 1 }

    override fun hasStableIds() = true

    override fun getViewTypeCount() = Kind.values().size

    override fun getItemViewType(position: Int) = rows[position].kind.ordinal

    override fun areAllItemsEnabled() = false

    override fun isEnabled(position: Int) = false

    /** The turn of a row. */
    fun turnAt(position: Int): Turn? = rows.getOrNull(position)?.turn

    override fun getView(position: Int, old: View?, parent: ViewGroup): View {
        val row = rows[position]
        val view = old ?: made(row.kind, parent)
        when (row.kind) {
            Kind.QUESTION -> question(view, row)
            Kind.ANSWER -> answer(view, row.turn)
            Kind.WORKING -> working(view)
            Kind.FAILED -> failed(view, row.turn)
        }
        return view
    }

    private fun made(kind: Kind, parent: ViewGroup): View = parent.inflate(
        when (kind) {
            Kind.QUESTION -> R.layout.turn_question
            Kind.ANSWER -> R.layout.turn_answer
            Kind.WORKING -> R.layout.turn_working
            Kind.FAILED -> R.layout.turn_failed
        },
    ).also { view ->
        if (kind == Kind.ANSWER && context.isLarge) stack(view.findViewById(R.id.turn_foot))
        if (kind == Kind.WORKING && context.isLarge) stackPhase(view.findViewById(R.id.phase))
    }

    /** With large letters the speed goes below the phase, whose word must not be broken. */
    private fun stackPhase(phase: View) {
        (phase.parent as LinearLayout).orientation = LinearLayout.VERTICAL
        phase.layoutParams = LinearLayout.LayoutParams(
            ViewGroup.LayoutParams.MATCH_PARENT,
            ViewGroup.LayoutParams.WRAP_CONTENT,
        )
        val below = (phase.parent as ViewGroup).findViewById<View>(R.id.percent)
        (below.layoutParams as LinearLayout.LayoutParams).marginStart = 0
    }

    /** With large letters the buttons go below the facts. */
    private fun stack(foot: LinearLayout) {
        foot.orientation = LinearLayout.VERTICAL
        foot.gravity = Gravity.START
        foot.getChildAt(0).layoutParams.width = ViewGroup.LayoutParams.MATCH_PARENT
        (foot.getChildAt(1).layoutParams as LinearLayout.LayoutParams).marginStart = -context.dp(ICON_SPACE)
    }

    private fun question(view: View, row: Row) {
        view.findViewById<TextView>(R.id.turn_question).text = row.turn.question
        thumbnails.show(view.findViewById(R.id.turn_picture), row.turn.picture.takeIf { row.hasPicture })
    }

    private fun answer(view: View, turn: Turn) {
        val text = view.findViewById<TextView>(R.id.turn_answer)
        text.text = turn.answer
        text.isShownHere = turn.answer.isNotEmpty()
        val isAnnounced = turn.id == announced
        text.accessibilityLiveRegion =
            if (isAnnounced) View.ACCESSIBILITY_LIVE_REGION_POLITE else View.ACCESSIBILITY_LIVE_REGION_NONE
        text.setOnLongClickListener { anchor -> true.also { actions.more(turn, anchor) } }
        text.accessibilityDelegate = Actions(turn)
        facts(view, turn)
        view.findViewById<View>(R.id.turn_actions).isShownHere = turn.id == newest && live == null
        view.findViewById<View>(R.id.copy).setOnClickListener { actions.copy(turn) }
        view.findViewById<View>(R.id.share).setOnClickListener { actions.share(turn) }
        view.findViewById<View>(R.id.again).setOnClickListener { actions.again(turn) }
    }

    private fun facts(view: View, turn: Turn) {
        val isOpen = turn.id in open
        val line = view.findViewById<TextView>(R.id.turn_facts)
        val all = view.findViewById<ViewGroup>(R.id.turn_all_facts)
        line.text = context.factsOf(turn)
        line.isActivated = isOpen
        // An answer that was stopped before its first word has this line alone.
        val isAnnounced = turn.id == announced && turn.answer.isEmpty()
        line.accessibilityLiveRegion =
            if (isAnnounced) View.ACCESSIBILITY_LIVE_REGION_POLITE else View.ACCESSIBILITY_LIVE_REGION_NONE
        line.accessibilityDelegate = object : View.AccessibilityDelegate() {
            override fun onInitializeAccessibilityNodeInfo(host: View, info: AccessibilityNodeInfo) {
                super.onInitializeAccessibilityNodeInfo(host, info)
                val label = context.getString(if (turn.id in open) R.string.hide_facts else R.string.show_facts)
                info.addAction(AccessibilityAction(AccessibilityNodeInfo.ACTION_CLICK, label))
            }
        }
        line.setOnClickListener {
            if (!open.remove(turn.id)) open.add(turn.id)
            actions.unfold { facts(view, turn) }
        }
        all.removeAllViews()
        all.isShownHere = isOpen
        if (isOpen) for ((name, value) in context.allFactsOf(turn)) all.fact(name, value)
    }

    private fun failed(view: View, turn: Turn) {
        val isCutOff = turn.end == TurnEnd.INTERRUPTED
        view.findViewById<TextView>(R.id.failed_answer).run {
            text = turn.answer
            isShownHere = turn.answer.isNotEmpty()
        }
        val title = view.findViewById<TextView>(R.id.failed_title)
        title.setText(if (isCutOff) R.string.interrupted_title else R.string.failed_title)
        view.findViewById<TextView>(R.id.failed_reason).run {
            text = turn.problem?.let { context.worded(it) } ?: context.getString(R.string.interrupted_about)
            accessibilityLiveRegion = if (turn.id == announced) {
                View.ACCESSIBILITY_LIVE_REGION_POLITE
            } else {
                View.ACCESSIBILITY_LIVE_REGION_NONE
            }
        }
        view.findViewById<View>(R.id.retry).setOnClickListener { actions.again(turn) }
    }

    /** Put the words and the phase there are now into the row of the answer on its way. */
    fun working(view: View) {
        val live = live ?: return
        val coming = view.findViewById<TextView>(R.id.coming) ?: return
        if (coming.text.toString() != live.text) coming.text = live.text
        coming.isShownHere = live.text.isNotEmpty()
        view.findViewById<TextView>(R.id.phase).run {
            val now = context.phase(live.phase, live.isStopping)
            // The same words again would be read out again.
            if (text.toString() != now) text = now
        }
        // The check of a model, and the reading of a picture in tiles.
        val isCounted = (live.phase == Phase.CHECKING || live.share > 0) && !live.isStopping
        val rate = live.rate
        view.findViewById<TextView>(R.id.percent).run {
            text = if (isCounted) context.percent(live.share) else rate?.let { context.rate(it) }
            isShownHere = text.isNotEmpty()
        }
        view.findViewById<ProgressBar>(R.id.phase_bar).run {
            isShownHere = isCounted
            progress = (100 * live.share).toInt()
        }
        view.findViewById<TextView>(R.id.phase_about).run {
            isShownHere = live.phase != Phase.ANSWERING && live.phase != Phase.WAITING && !live.isStopping
            text = context.getString(R.string.step_of, live.phase.ordinal, Phase.ANSWERING.ordinal)
        }
    }

    /** What a screen reader can do with an answer: the same as the menu of a long press. */
    private inner class Actions(private val turn: Turn) : View.AccessibilityDelegate() {
        override fun onInitializeAccessibilityNodeInfo(host: View, info: AccessibilityNodeInfo) {
            super.onInitializeAccessibilityNodeInfo(host, info)
            for ((id, text) in LABELS) info.addAction(AccessibilityAction(id, context.getString(text)))
        }

        override fun performAccessibilityAction(host: View, action: Int, arguments: Bundle?): Boolean {
            when (action) {
                R.id.copy -> actions.copy(turn)
                R.id.share -> actions.share(turn)
                R.id.again -> actions.again(turn)
                R.id.card_delete -> actions.delete(turn)
                else -> return super.performAccessibilityAction(host, action, arguments)
            }
            return true
        }
    }

    private companion object {
        /** Between an icon and the edge of what is touched. */
        const val ICON_SPACE = 14
        val LABELS = listOf(
            R.id.copy to R.string.copy,
            R.id.share to R.string.share,
            R.id.again to R.string.ask_again,
            R.id.card_delete to R.string.delete,
        )
    }
}
