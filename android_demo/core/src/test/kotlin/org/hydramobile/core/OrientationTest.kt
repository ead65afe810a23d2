package org.hydramobile.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertSame
import org.junit.Test

/** The eight orientations of a picture of three columns and two rows, written out by hand. */
class OrientationTest {
    private val stored = DecodedPicture(intArrayOf(1, 2, 3, 4, 5, 6), 3, 2)

    private fun seen(orientation: Int, width: Int, vararg argb: Int) {
        val upright = Orientation.upright(stored, orientation)
        assertArrayEquals("orientation $orientation", argb, upright.argb)
        assertEquals(width, upright.width)
        assertEquals(6 / width, upright.height)
        assertEquals(width == 2, Orientation.isTurned(orientation))
    }

    @Test
    fun allEight() {
        seen(1, 3, 1, 2, 3, 4, 5, 6)
        seen(2, 3, 3, 2, 1, 6, 5, 4)
        seen(3, 3, 6, 5, 4, 3, 2, 1)
        seen(4, 3, 4, 5, 6, 1, 2, 3)
        seen(5, 2, 1, 4, 2, 5, 3, 6)
        seen(6, 2, 4, 1, 5, 2, 6, 3)
        seen(7, 2, 6, 3, 5, 2, 4, 1)
        seen(8, 2, 3, 6, 2, 5, 1, 4)
    }

    @Test
    fun whatIsNoOrientationChangesNothing() {
        for (value in listOf(0, 9, -1)) assertSame(stored, Orientation.upright(stored, value))
    }
}
