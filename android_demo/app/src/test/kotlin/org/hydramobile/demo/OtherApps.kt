/*
 * What other apps hand to this one: pictures and folders, whole, broken, slow.
 */
package org.hydramobile.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.database.Cursor
import android.database.MatrixCursor
import android.graphics.Bitmap
import android.graphics.Color
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.DocumentsContract
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.FileNotFoundException
import java.io.InputStream
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

/** Pictures and folders of other apps. */
object OtherApps {
    private var count = 0
    private val stuck = ArrayList<CountDownLatch>()

    /** A picture whose app does not answer until [release]; then it gives [bytes]. */
    fun slowPicture(bytes: ByteArray = jpeg()): Uri {
        val latch = CountDownLatch(1).also { stuck.add(it) }
        return pictureFrom {
            latch.await(60, TimeUnit.SECONDS)
            ByteArrayInputStream(bytes)
        }
    }

    /** A wait for a provider's thread, ended by [release]. */
    fun stall() {
        val latch = CountDownLatch(1).also { stuck.add(it) }
        latch.await(60, TimeUnit.SECONDS)
    }

    fun release() {
        stuck.toList().forEach { it.countDown() }
        stuck.clear()
    }

    fun picture(bytes: ByteArray): Uri = pictureFrom { ByteArrayInputStream(bytes) }

    fun pictureFrom(stream: () -> InputStream): Uri {
        val uri = Uri.parse("content://photos/${++count}")
        shadowOf(RuntimeEnvironment.getApplication().contentResolver).registerInputStreamSupplier(uri) { stream() }
        return uri
    }

    fun jpeg(colour: Int = Color.rgb(30, 120, 200), width: Int = 640, height: Int = 480): ByteArray =
        encoded(colour, width, height, Bitmap.CompressFormat.JPEG)

    fun isLike(one: Int, other: Int) = listOf<(Int) -> Int>(Color::red, Color::green, Color::blue)
        .all { kotlin.math.abs(it(one) - it(other)) < 40 }

    /** Whether normalised pixels (from -1 to 1, red, green, blue) have a colour in their middle. */
    fun isLike(pixels: FloatArray, colour: Int): Boolean {
        val area = pixels.size / 3
        val middle = area / 2 + kotlin.math.sqrt(area.toDouble()).toInt() / 2
        val found = (0 until 3).map { ((pixels[it * area + middle] + 1) * 127.5f).toInt().coerceIn(0, 255) }
        return isLike(Color.rgb(found[0], found[1], found[2]), colour)
    }

    fun encoded(colour: Int, width: Int, height: Int, format: Bitmap.CompressFormat): ByteArray {
        val bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        bitmap.eraseColor(colour)
        return ByteArrayOutputStream().also { bitmap.compress(format, 90, it) }.toByteArray().also { bitmap.recycle() }
    }

    /** A folder that a documents app serves; [files] by path. */
    fun folder(provider: FolderApp): Uri {
        val controller = Robolectric.buildContentProvider(FolderApp::class.java)
        val made = controller.create("made.documents").get()
        made.serve(provider)
        return DocumentsContract.buildTreeDocumentUri("made.documents", "primary:Download/${provider.title}")
    }
}

/** A documents app with one folder. */
open class FolderApp : ContentProvider() {
    var title = "bundle"
    var root: File? = null

    /** Called before each listing and each opening, on the thread that asks. */
    var onQuery: (String) -> Unit = {}
    var onOpen: (String) -> Unit = {}

    /** Adds rows or takes some: names and ids. */
    var rows: (List<Pair<String?, String?>>) -> List<Pair<String?, String?>> = { it }
    var answersNothing = false
    private var served: FolderApp? = null

    fun serve(other: FolderApp) {
        served = other
    }

    private fun fileOf(uri: Uri): File {
        val prefix = "primary:Download/${served!!.title}"
        val id = DocumentsContract.getDocumentId(uri).removePrefix(prefix).trimStart('/')
        return if (id.isEmpty()) served!!.root!! else File(served!!.root!!, id)
    }

    override fun onCreate() = true

    override fun query(
        uri: Uri,
        columns: Array<String>?,
        where: String?,
        values: Array<String>?,
        order: String?,
    ): Cursor? {
        val app = served!!
        app.onQuery(uri.toString())
        if (app.answersNothing) return null
        val folder = fileOf(uri)
        val id = DocumentsContract.getDocumentId(uri)
        val found = folder.listFiles().orEmpty().sortedBy { it.name }.map { it.name to "$id/${it.name}" }
        val cursor = MatrixCursor(columns)
        for ((name, document) in app.rows(found)) cursor.addRow(arrayOf(name, document))
        return cursor
    }

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor? {
        val app = served!!
        app.onOpen(uri.toString())
        val file = fileOf(uri)
        if (!file.isFile) throw FileNotFoundException("$uri")
        return ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY)
    }

    override fun getType(uri: Uri): String? = null

    override fun insert(uri: Uri, values: ContentValues?): Uri? = null

    override fun update(uri: Uri, values: ContentValues?, where: String?, arguments: Array<String>?) = 0

    override fun delete(uri: Uri, where: String?, arguments: Array<String>?) = 0
}
