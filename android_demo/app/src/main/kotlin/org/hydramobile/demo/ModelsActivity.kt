/*
 * The models: what is there, what it needs, whether it is whole; import, choose, measure, delete.
 */
package org.hydramobile.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.Intent
import android.content.res.ColorStateList
import android.os.Bundle
import android.view.Gravity
import android.view.View
import android.view.ViewGroup
import android.widget.BaseAdapter
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ListView
import android.widget.ProgressBar
import android.widget.TextView
import org.hydramobile.screens.ImportState
import org.hydramobile.screens.Listener
import org.hydramobile.screens.ModelsState
import org.hydramobile.screens.Problem
import org.hydramobile.screens.StoredModel

class ModelsActivity : Activity() {
    private val list by lazy { findViewById<ListView>(R.id.models_list) }
    private val space by lazy { list.inflate(R.layout.models_space) }
    private val others by lazy { ForeignApps(this) }
    private val rows = Rows()
    private val importListener = Listener<ImportState> { showImport(it) }
    private val modelsListener = Listener<ModelsState> { showModels(it) }
    private var toldProblem: Problem? = null

    private val deleting by lazy {
        Asking(this, "deleting", R.string.delete, { name ->
            AlertDialog.Builder(this).setMessage(getString(R.string.delete_title, name))
        }) { delete(it) }
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.models_screen)
        leaveByArrow()
        list.addHeaderView(space, null, false)
        list.adapter = rows
        findViewById<View>(R.id.add_model).setOnClickListener { add() }
        deleting.restore(savedInstanceState)
    }

    override fun onStart() {
        super.onStart()
        demo.models.refresh()
        demo.models.told.listen(modelsListener)
        demo.imports.told.listen(importListener)
    }

    override fun onResume() {
        super.onResume()
        others.isWaited = false
    }

    override fun onStop() {
        demo.models.told.leave(modelsListener)
        demo.imports.told.leave(importListener)
        super.onStop()
    }

    override fun onDestroy() {
        deleting.close()
        super.onDestroy()
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        deleting.save(state)
    }

    private fun add() {
        popUp(
            findViewById(R.id.add_model),
            listOf(
                MenuRow(R.drawable.ic_zip, getString(R.string.from_zip), getString(R.string.from_zip_about)) {
                    others.chooseZip(ZIP)
                },
                MenuRow(R.drawable.ic_folder, getString(R.string.from_folder), getString(R.string.from_folder_about)) {
                    others.chooseFolder(FOLDER)
                },
            ),
            MENU,
        )
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        others.isWaited = false
        val uri = others.chosen(data)
        if (resultCode != RESULT_OK) return
        if (uri == null) {
            tell(getString(R.string.not_answering))
        } else if (requestCode == ZIP) {
            others.import(uri)
        } else {
            others.importFolder(uri)
        }
    }

    private fun showModels(state: ModelsState) {
        space.findViewById<TextView>(R.id.space_text).text =
            if (state.isRead) getString(R.string.space, size(state.usedBytes), size(state.freeBytes)) else ""
        space.findViewById<ProgressBar>(R.id.space_bar).progress =
            (THOUSAND * state.usedBytes / maxOf(1, state.usedBytes + state.freeBytes)).toInt()
        space.findViewById<View>(R.id.no_models).isShownHere = state.isRead && state.models.isEmpty()
        rows.models = state
        rows.notifyDataSetChanged()
        if (state.problem != null && state.problem !== toldProblem) state.problem?.let { tell(worded(it)) }
        toldProblem = state.problem
        // A model that is gone is no news any more.
        val imported = demo.imports.told.now.imported
        if (imported != null && isGone(imported, state)) demo.imports.forget()
    }

    /** Whether a model was listed, and is not any more. */
    private fun isGone(name: String, state: ModelsState): Boolean {
        val isListed = state.models.any { it.name == name }
        if (isListed) listed = name
        return !isListed && listed == name
    }

    private var listed: String? = null

    private fun showImport(state: ImportState) {
        val isSame = rows.import != null && state.isBusy
        rows.import = state.takeIf { it.isBusy }
        if (isSame) list.findViewById<View>(R.id.import_card)?.let { rows.bindImport(it, state) }
        if (!isSame) rows.notifyDataSetChanged()
        window.decorView.keepScreenOn = state.isBusy
        findViewById<View>(R.id.add_model).isEnabled = !state.isBusy
        space.findViewById<TextView>(R.id.import_news).run {
            val problem = state.problem
            val now = if (problem != null) worded(problem) else state.imported?.let { getString(R.string.imported, it) }
            if (text.toString() != now.orEmpty()) text = now
            isShownHere = now != null
        }
        if (!state.isBusy) demo.models.refresh()
    }

    private fun delete(name: String) {
        val model = demo.models.told.now.models.firstOrNull { it.name == name } ?: return
        // Whoever is using it lets go first.
        demo.models.delete(model.folder) { demo.host.letGo(model.folder) }
    }

    private fun use(model: StoredModel) = demo.models.use(model.name)

    private fun measure(model: StoredModel) {
        use(model)
        startActivity(Intent(this, SpeedActivity::class.java).addFlags(Intent.FLAG_ACTIVITY_SINGLE_TOP))
    }

    /** The import that runs, then the models. */
    private inner class Rows : BaseAdapter() {
        var models = ModelsState()
        var import: ImportState? = null
        private val first get() = if (import == null) 0 else 1

        override fun getCount() = first + models.models.size

        override fun getItem(position: Int): Any = models.models.getOrNull(position - first) ?: models

        override fun getItemId(position: Int) = position.toLong()

        override fun getViewTypeCount() = 2

        override fun getItemViewType(position: Int) = if (position < first) 0 else 1

        override fun areAllItemsEnabled() = false

        override fun isEnabled(position: Int) = false

        override fun getView(position: Int, old: View?, parent: ViewGroup): View {
            val state = import
            if (state != null && position == 0) {
                return (old ?: parent.inflate(R.layout.model_import)).also { bindImport(it, state) }
            }
            return (old ?: card(parent)).also { bind(it, models.models[position - first]) }
        }

        fun bindImport(view: View, state: ImportState) {
            view.findViewById<TextView>(R.id.import_phase).run {
                val name = state.name.orEmpty()
                val now = getString(if (name.isEmpty()) R.string.unpacking else R.string.importing, name)
                if (text.toString() != now) text = now
            }
            view.findViewById<TextView>(R.id.import_percent).text = percent(state.share)
            view.findViewById<ProgressBar>(R.id.import_bar).progress = (100 * state.share).toInt()
            view.findViewById<View>(R.id.import_stop).setOnClickListener { demo.imports.stop() }
        }

        private fun card(parent: ViewGroup): View = parent.inflate(R.layout.model_card).also { view ->
            if (!isLarge) return@also
            // A name is never cut: the state goes below it.
            val head = view.findViewById<LinearLayout>(R.id.card_head)
            head.orientation = LinearLayout.VERTICAL
            head.gravity = Gravity.START
            head.findViewById<View>(R.id.card_name).layoutParams = LinearLayout.LayoutParams(
                ViewGroup.LayoutParams.MATCH_PARENT,
                ViewGroup.LayoutParams.WRAP_CONTENT,
            )
            for (id in intArrayOf(R.id.card_used, R.id.card_problem)) {
                (head.findViewById<View>(id).layoutParams as LinearLayout.LayoutParams).topMargin = dp(8)
            }
        }

        private fun bind(view: View, model: StoredModel) {
            val isUsed = model.name == models.used?.asked?.name
            val problem = model.problem
            view.setBackgroundResource(if (isUsed) R.drawable.card_used else R.drawable.card)
            view.findViewById<TextView>(R.id.card_name).text = model.name
            view.findViewById<TextView>(R.id.card_about).run {
                text = model.manifest?.let { aboutModel(it) }
                isShownHere = model.manifest != null
            }
            view.findViewById<View>(R.id.card_used).isShownHere = isUsed
            view.findViewById<View>(R.id.card_problem).isShownHere = problem != null
            state(view, model)
            view.findViewById<View>(R.id.card_use).run {
                contentDescription = getString(R.string.use_which, model.name)
                isShownHere = !isUsed && problem == null
                setOnClickListener { use(model) }
            }
            view.findViewById<View>(R.id.card_measure).run {
                isShownHere = problem == null
                setOnClickListener { measure(model) }
            }
            view.findViewById<View>(R.id.card_delete).run {
                contentDescription = getString(R.string.delete_which, model.name)
                setOnClickListener { deleting.ask(model.name) }
            }
        }

        private fun state(view: View, model: StoredModel) {
            val problem = model.problem
            val (icon, role) = when {
                problem != null -> R.drawable.ic_warning to R.attr.error
                model.isChecked -> R.drawable.ic_check to R.attr.good
                else -> R.drawable.ic_info to R.attr.onSurfaceVariant
            }
            view.findViewById<ImageView>(R.id.card_state_icon).run {
                setImageResource(icon)
                imageTintList = ColorStateList.valueOf(tone(role))
            }
            view.findViewById<TextView>(R.id.card_state).run {
                text = problem?.let { worded(it) }
                    ?: getString(if (model.isChecked) R.string.checked else R.string.unchecked)
                setTextColor(tone(role))
            }
        }
    }

    private companion object {
        const val ZIP = 1
        const val FOLDER = 2
        const val THOUSAND = 1000L

        /** Width, in dp. */
        const val MENU = 300
    }
}
