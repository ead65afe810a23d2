package org.hydramobile.demo

import android.app.Activity
import android.os.Looper
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** Every screen starts, is made anew and ends. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], qualifiers = "w411dp-h891dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class StartTest {
    private fun starts(kind: Class<out Activity>) {
        val controller = Robolectric.buildActivity(kind).setup()
        shadowOf(Looper.getMainLooper()).idle()
        assertTrue(controller.get().window.decorView.width > 0)
        controller.recreate().pause().stop().destroy()
    }

    @Test
    fun theAnswerScreenStarts() = starts(MainActivity::class.java)

    @Test
    fun theModelsStart() = starts(ModelsActivity::class.java)

    @Test
    fun theSettingsStart() = starts(SettingsActivity::class.java)

    @Test
    fun theSpeedTestStarts() = starts(SpeedActivity::class.java)
}
