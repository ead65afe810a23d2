/*
 * One file that the camera app may write its photo to: Android asks for an address, not a path.
 */
package org.hydramobile.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException
import java.io.FilterInputStream
import java.io.InputStream

/** Serves nothing but the photo, and only to whom an intent grants it. */
class PhotoProvider : ContentProvider() {
    override fun onCreate() = true

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
        val context = context ?: throw FileNotFoundException("The app has not started.")
        if (uri != uriOf(context)) throw FileNotFoundException("$uri is not the photo.")
        return ParcelFileDescriptor.open(fileOf(context), ParcelFileDescriptor.parseMode(mode))
    }

    override fun getType(uri: Uri) = "image/jpeg"

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        selectionArgs: Array<String>?,
        sortOrder: String?,
    ): Cursor? {
        val context = context ?: return null
        if (uri != uriOf(context)) return null
        val columns = projection ?: arrayOf(OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE)
        val cursor = MatrixCursor(columns, 1)
        val row = cursor.newRow()
        for (column in columns) {
            row.add(
                when (column) {
                    OpenableColumns.DISPLAY_NAME -> fileOf(context).name
                    OpenableColumns.SIZE -> fileOf(context).length()
                    else -> null
                },
            )
        }
        return cursor
    }

    override fun insert(uri: Uri, values: ContentValues?): Uri? = null

    override fun update(uri: Uri, values: ContentValues?, selection: String?, selectionArgs: Array<String>?) = 0

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<String>?) = 0

    companion object {
        fun fileOf(context: Context) = File(context.cacheDir, "photo.jpg")

        /** Make room for a photo. IOException: there is none. Not on the thread of the screens. */
        fun prepare(context: Context) {
            fileOf(context).run {
                delete()
                createNewFile()
            }
        }

        /** The photo, whose file goes when it has been read. */
        fun taken(context: Context): InputStream = object : FilterInputStream(fileOf(context).inputStream()) {
            override fun close() {
                super.close()
                fileOf(context).delete()
            }
        }

        fun uriOf(context: Context): Uri = Uri.parse("content://${context.packageName}.photo/photo.jpg")
    }
}
