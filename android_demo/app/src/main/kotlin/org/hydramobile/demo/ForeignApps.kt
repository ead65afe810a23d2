/*
 * What this app asks of others, and what they hand to it: pickers, cameras, shared pictures and files.
 */
package org.hydramobile.demo

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.ClipData
import android.content.ContentResolver
import android.content.Intent
import android.net.Uri
import android.provider.MediaStore
import android.provider.OpenableColumns
import android.text.Editable
import android.text.InputFilter
import android.text.Spanned
import android.text.TextWatcher
import org.hydramobile.screens.BundleSource
import org.hydramobile.screens.ZipSource
import java.io.IOException

/** Of one screen. */
internal class ForeignApps(private val activity: Activity) {
    /** Another app has been asked and has not answered: a second tap asks no second time. */
    var isWaited = false

    fun choose(request: Int) = choose(request, "image/*")

    fun chooseZip(request: Int) = choose(request, "application/zip")

    fun chooseFolder(request: Int) = start(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), request, R.string.no_picker)

    private fun choose(request: Int, type: String) = start(
        Intent(Intent.ACTION_GET_CONTENT).setType(type).addCategory(Intent.CATEGORY_OPENABLE),
        request,
        R.string.no_picker,
    )

    /** Let a camera app take a photo into this app's file. */
    fun photograph(request: Int) {
        if (isWaited) return
        isWaited = true
        val app = activity.demo
        app.hands.execute {
            val problem = try {
                PhotoProvider.prepare(app)
                null
            } catch (error: IOException) {
                error.message ?: error.toString()
            }
            app.screens.execute {
                isWaited = false
                if (problem != null) {
                    activity.tell(activity.getString(R.string.problem_picture, problem))
                } else if (!activity.isDestroyed) {
                    photographInto(PhotoProvider.uriOf(activity), request)
                }
            }
        }
    }

    private fun photographInto(uri: Uri, request: Int) {
        val intent = Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, uri)
        intent.clipData = ClipData.newRawUri("", uri)
        intent.addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION or Intent.FLAG_GRANT_READ_URI_PERMISSION)
        start(intent, request, R.string.no_camera)
    }

    private fun start(intent: Intent, request: Int, otherwise: Int) {
        if (isWaited) return
        isWaited = true
        try {
            activity.startActivityForResult(intent, request)
        } catch (_: ActivityNotFoundException) {
            isWaited = false
            activity.tell(activity.getString(otherwise))
        }
    }

    /** What a picker answered with: an address, or a list of which the first counts. */
    fun chosen(data: Intent?): Uri? = data?.data ?: data?.clipData?.takeIf { it.itemCount > 0 }?.getItemAt(0)?.uri

    /** The pictures that another app shares. */
    fun shared(intent: Intent): List<Uri> {
        val extra = intent.extras?.get(Intent.EXTRA_STREAM)
        val stream = (extra as? List<*> ?: listOf(extra)).filterIsInstance<Uri>()
        val clip = intent.clipData
        val clips = (0 until (clip?.itemCount ?: 0)).mapNotNull { clip?.getItemAt(it)?.uri }
        return if (clips.size > stream.size) clips else stream.ifEmpty { listOfNotNull(intent.data) }
    }

    /** Import the bundle in a zip file. */
    fun import(zip: Uri) {
        val resolver = activity.applicationContext.contentResolver
        import(lastName(zip)) {
            ZipSource(titleOf(resolver, zip)) { resolver.openInputStream(zip) ?: throw silent() }
        }
    }

    /** Import the bundle in a folder. */
    fun importFolder(tree: Uri) {
        val resolver = activity.applicationContext.contentResolver
        import(lastName(tree)) { DocumentFolder(resolver, tree) }
    }

    private fun import(name: String, source: () -> BundleSource) {
        if (!activity.demo.imports.start(name, source)) activity.tell(activity.getString(R.string.import_busy))
    }

    /** Let the person send a text to an app of their choice. */
    fun share(type: String, text: String) {
        if (isWaited) return
        isWaited = true
        val intent = Intent(Intent.ACTION_SEND).setType(type).putExtra(Intent.EXTRA_TEXT, text)
        activity.startActivity(Intent.createChooser(intent, activity.getString(R.string.share)))
    }

    private fun lastName(uri: Uri) = uri.lastPathSegment.orEmpty().substringAfterLast('/').substringAfterLast(':')

    /** The file's name without its ending. Asks the other app: not on the thread of the screens. */
    private fun titleOf(resolver: ContentResolver, uri: Uri): String {
        val found = resolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)?.use {
            if (it.moveToFirst()) it.getString(0) else null
        }
        return (found ?: lastName(uri)).removeSuffix(".zip")
    }
}

/** Told of the text of a field when it has changed. */
internal class After(private val action: (String) -> Unit) : TextWatcher {
    override fun beforeTextChanged(text: CharSequence, start: Int, count: Int, after: Int) = Unit

    override fun onTextChanged(text: CharSequence, start: Int, before: Int, count: Int) = Unit

    override fun afterTextChanged(text: Editable) = action(text.toString())
}

/** Cuts a text at [most] characters, and says so by [onCut]: nothing is lost in silence. */
internal class Longest(most: Int, private val onCut: () -> Unit) : InputFilter.LengthFilter(most) {
    override fun filter(
        source: CharSequence,
        start: Int,
        end: Int,
        dest: Spanned,
        dstart: Int,
        dend: Int,
    ): CharSequence? = super.filter(source, start, end, dest, dstart, dend)?.also { onCut() }
}
