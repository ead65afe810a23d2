/*
 * A folder that the user has picked, through Android's documents: it may be on a card, a stick or in another app.
 */
package org.hydramobile.demo

import android.content.ContentResolver
import android.net.Uri
import android.provider.DocumentsContract
import org.hydramobile.screens.BundleSource
import org.hydramobile.screens.Problem
import org.hydramobile.screens.ProblemException
import java.io.IOException
import java.io.InputStream

/** The app that has the files says nothing. */
internal fun silent() = ProblemException(Problem(Problem.SOURCE_SILENT))

/** The folder [tree]; its listings are read once. */
internal class DocumentFolder(private val resolver: ContentResolver, private val tree: Uri) : BundleSource {
    private val root = DocumentsContract.getTreeDocumentId(tree)
    private val listings = HashMap<String, Map<String, List<String>>>()

    // For example "primary:Download/android-int4".
    override val title = root.substringAfterLast('/').substringAfterLast(':')

    override fun open(path: String): InputStream? {
        var found = listOf(root)
        for (name in path.split('/')) found = children(found.first())[name] ?: return null
        // Some apps allow two files of one name, and the first may be one that is gone.
        var failure: IOException? = null
        for (document in found) {
            try {
                val opened = resolver.openInputStream(DocumentsContract.buildDocumentUriUsingTree(tree, document))
                if (opened != null) return opened
            } catch (error: IOException) {
                failure = failure ?: error
            }
        }
        throw failure ?: IOException(path)
    }

    /** Documents in a folder, by name. */
    private fun children(folder: String): Map<String, List<String>> = listings.getOrPut(folder) {
        val uri = DocumentsContract.buildChildDocumentsUriUsingTree(tree, folder)
        val columns = arrayOf(
            DocumentsContract.Document.COLUMN_DISPLAY_NAME,
            DocumentsContract.Document.COLUMN_DOCUMENT_ID,
        )
        val cursor = resolver.query(uri, columns, null, null, null) ?: throw silent()
        cursor.use {
            val found = HashMap<String, List<String>>()
            while (it.moveToNext()) {
                val name = it.getString(0)
                val document = it.getString(1)
                if (name != null && document != null) found[name] = found[name].orEmpty() + document
            }
            found
        }
    }
}
