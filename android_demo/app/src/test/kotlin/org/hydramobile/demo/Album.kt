package org.hydramobile.demo

import android.graphics.Bitmap
import android.graphics.Canvas
import android.view.View
import android.view.WindowManager
import org.junit.Test
import org.robolectric.annotation.Config
import java.io.File

/** Pictures of every screen and state, into the folder that the property `hydra.pictures` names; tests nothing. */
class Album : PhoneTest() {
    private fun fill(condition: String) {
        val out = File(System.getProperty("hydra.pictures") ?: return, condition).also { it.mkdirs() }
        val wanted = System.getProperty("hydra.scenes")?.split(',')
        for (each in Scenes.ALL.filter { wanted == null || it.name in wanted }) {
            scene(each) {
                val bitmap = taken()
                val width = minOf(bitmap.width, WIDTH)
                val small = Bitmap.createScaledBitmap(bitmap, width, bitmap.height * width / bitmap.width, true)
                File(out, "${each.name}.png").outputStream().use { small.compress(Bitmap.CompressFormat.PNG, 100, it) }
            }
        }
    }

    /** The screen with the windows above it, as the GPU draws it: outlines cut, and heights cast shadows. */
    private fun taken(): Bitmap {
        val bitmap = rendered(phone.screen.window.decorView)
        val canvas = Canvas(bitmap)
        for (view in phone.windows().filter { it.isShown && it.width > 0 }) {
            val at = view.layoutParams as WindowManager.LayoutParams
            val isDialog = at.type == WindowManager.LayoutParams.TYPE_APPLICATION
            if (isDialog) canvas.drawARGB(DIM, 0, 0, 0)
            val left = if (isDialog) (bitmap.width - view.width) / 2 else at.x
            val top = if (isDialog) (bitmap.height - view.height) / 2 else at.y
            canvas.drawBitmap(Checks.drawn(view), left.toFloat(), top.toFloat(), null)
        }
        return bitmap
    }

    private fun rendered(view: View): Bitmap {
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        Class.forName("org.robolectric.shadows.HardwareRenderingScreenshot")
            .getDeclaredMethod("takeScreenshot", View::class.java, Bitmap::class.java)
            .also { it.isAccessible = true }
            .invoke(null, view, bitmap)
        return bitmap
    }

    @Test
    fun light() = fill("light")

    @Test
    @Config(qualifiers = "w411dp-h891dp-night-xhdpi")
    fun dark() = fill("dark")

    @Test
    @Config(qualifiers = "w360dp-h760dp-xhdpi", fontScale = 2.0f)
    fun large() = fill("large")

    @Test
    @Config(qualifiers = "ar-ldrtl-w411dp-h891dp-xhdpi")
    fun rightToLeft() = fill("rtl")

    private companion object {
        const val WIDTH = 360
        const val DIM = 90
    }
}
