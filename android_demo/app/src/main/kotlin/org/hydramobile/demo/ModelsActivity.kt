/*
 * The model manager: what is there, what it needs, whether it is whole; import, choose, delete.
 */
package org.hydramobile.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import org.hydramobile.screens.ImportListener
import org.hydramobile.screens.ImportState
import org.hydramobile.screens.Shown
import org.hydramobile.screens.StoredModel
import java.io.File
import java.io.IOException

class ModelsActivity : Activity() {
    private val status by lazy { findViewById<TextView>(R.id.import_status) }
    private val listener = ImportListener { show(it) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.models)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        findViewById<TextView>(R.id.models_help).text = getString(R.string.models_help, demo.store.root.path)
        findViewById<Button>(R.id.import_bundle).setOnClickListener {
            if (demo.importer.state.isBusy) demo.importer.stop() else choose()
        }
    }

    override fun onStart() {
        super.onStart()
        demo.importer.listener = listener
    }

    override fun onStop() {
        if (demo.importer.listener === listener) demo.importer.listener = null
        super.onStop()
    }

    private fun choose() = try {
        startActivityForResult(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), CHOOSE)
    } catch (_: ActivityNotFoundException) {
        status.setText(R.string.no_picker)
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val tree = data?.data
        if (resultCode == RESULT_OK && tree != null) demo.importer.start(DocumentFolder(contentResolver, tree))
    }

    private fun show(state: ImportState) {
        val percent = (100 * state.share).toInt()
        findViewById<ProgressBar>(R.id.import_progress).run {
            visibility = if (state.isBusy) View.VISIBLE else View.GONE
            progress = percent
        }
        findViewById<Button>(R.id.import_bundle).setText(if (state.isBusy) R.string.stop else R.string.import_bundle)
        status.text = when {
            state.isBusy -> getString(R.string.importing, percent)
            state.problem != null -> state.problem
            state.name != null -> getString(R.string.imported, state.name)
            else -> ""
        }
        if (!state.isBusy) list()
    }

    private fun list() {
        val list = findViewById<LinearLayout>(R.id.models_list)
        demo.files.execute {
            val models = demo.store.models(demo.device())
            val used = demo.model?.name
            demo.screens.execute {
                list.removeAllViews()
                models.forEach { list.addView(row(list, it, it.name == used)) }
                if (models.isEmpty()) list.addView(TextView(this).also { it.setText(R.string.no_models) })
            }
        }
    }

    private fun row(list: LinearLayout, model: StoredModel, isUsed: Boolean): View {
        val view = layoutInflater.inflate(R.layout.model, list, false)
        view.findViewById<TextView>(R.id.model_name).text = model.name
        view.findViewById<TextView>(R.id.model_about).text = model.manifest?.let { Shown.model(it) }.orEmpty()
        val hashes = getString(if (model.isChecked) R.string.hashes_checked else R.string.hashes_unchecked)
        view.findViewById<TextView>(R.id.model_state).text =
            model.problem ?: "${getString(R.string.usable)}, $hashes"
        view.findViewById<Button>(R.id.model_use).run {
            setText(if (isUsed) R.string.used else R.string.use)
            contentDescription = getString(R.string.use_which, model.name)
            isEnabled = !isUsed && model.problem == null
            setOnClickListener {
                demo.model = model.folder
                list()
            }
        }
        view.findViewById<Button>(R.id.model_delete).run {
            contentDescription = getString(R.string.delete_which, model.name)
            setOnClickListener { askToDelete(model) }
        }
        return view
    }

    private fun askToDelete(model: StoredModel) {
        AlertDialog.Builder(this)
            .setMessage(getString(R.string.delete_which, model.name))
            .setPositiveButton(R.string.delete) { _, _ -> delete(model.folder) }
            .setNegativeButton(R.string.cancel, null)
            .show()
    }

    private fun delete(folder: File) = demo.files.execute {
        // Whoever is using it lets go first.
        demo.asker.unloadNow()
        val problem = try {
            demo.store.delete(folder)
            null
        } catch (error: IOException) {
            error.message
        }
        demo.screens.execute {
            if (problem != null) Toast.makeText(this, problem, Toast.LENGTH_LONG).show()
            list()
        }
    }

    private companion object {
        const val CHOOSE = 1
    }
}
