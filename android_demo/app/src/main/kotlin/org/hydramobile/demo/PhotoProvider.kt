/*
 * One file that the camera app may write its photo to: Android asks for an address, not a path.
 */
package org.hydramobile.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import java.io.File
import java.io.FileNotFoundException

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
    ): Cursor? = null

    override fun insert(uri: Uri, values: ContentValues?): Uri? = null

    override fun update(uri: Uri, values: ContentValues?, selection: String?, selectionArgs: Array<String>?) = 0

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<String>?) = 0

    companion object {
        fun fileOf(context: Context) = File(context.cacheDir, "photo.jpg")

        fun uriOf(context: Context): Uri = Uri.parse("content://${context.packageName}.photo/photo.jpg")
    }
}
