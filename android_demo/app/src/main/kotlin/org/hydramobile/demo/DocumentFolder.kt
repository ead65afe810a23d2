/*
 * A folder that the user has picked, through Android's documents: it may be on a card, a stick or in another app.
 */
package org.hydramobile.demo

import android.content.ContentResolver
import android.net.Uri
import android.provider.DocumentsContract
import org.hydramobile.screens.BundleSource
import java.io.IOException
import java.io.InputStream

/** The folder [tree]; its listings are read once. */
internal class DocumentFolder(private val resolver: ContentResolver, private val tree: Uri) : BundleSource {
    private val root = DocumentsContract.getTreeDocumentId(tree)
    private val listings = HashMap<String, Map<String, String>>()

    // For example "primary:Download/android-int4".
    override val title = root.substringAfterLast('/').substringAfterLast(':')

    override fun open(path: String): InputStream? {
        var document = root
        for (name in path.split('/')) document = children(document)[name] ?: return null
        return resolver.openInputStream(DocumentsContract.buildDocumentUriUsingTree(tree, document))
    }

    /** Documents in a folder, by name. */
    private fun children(folder: String): Map<String, String> = listings.getOrPut(folder) {
        val uri = DocumentsContract.buildChildDocumentsUriUsingTree(tree, folder)
        val columns = arrayOf(
            DocumentsContract.Document.COLUMN_DISPLAY_NAME,
            DocumentsContract.Document.COLUMN_DOCUMENT_ID,
        )
        val cursor = resolver.query(uri, columns, null, null, null) ?: throw IOException("$uri gives no answer")
        cursor.use {
            val found = HashMap<String, String>()
            while (it.moveToNext()) found[it.getString(0)] = it.getString(1)
            found
        }
    }
}
